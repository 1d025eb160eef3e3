{{/*
What the server is told, worked out from the values. Used by statefulset.yaml and tests/.
*/}}

{{- define "mokv.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}

{{/* The name that resolves to all members. */}}
{{- define "mokv.membersHost" -}}
{{- printf "%s.%s.svc.%s" (include "mokv.headless" .) .Release.Namespace .Values.clusterDomain }}
{{- end }}

{{/*
The name of all members, and the first pod's own: no cluster is made while a seed cannot be found, so
a pod that starts when the others are not in DNS yet, or not any more, makes none beside theirs.
*/}}
{{- define "mokv.seeds" -}}
{{- $members := include "mokv.membersHost" . }}
{{- printf "%s:%v,%s-0.%s:%v" $members .Values.serfPort (include "mokv.fullname" .) $members .Values.serfPort }}
{{- end }}

{{/* Every pod by its own name, with commas between them. */}}
{{- define "mokv.podEndpoints" -}}
{{- $endpoints := list }}
{{- range $ordinal := until (int .Values.replicas) }}
{{- $host := printf "%s-%d.%s" (include "mokv.fullname" $) $ordinal (include "mokv.membersHost" $) }}
{{- $endpoints = append $endpoints (printf "%s:%v" $host $.Values.rpcPort) }}
{{- end }}
{{- join "," $endpoints }}
{{- end }}

{{/* This pod's own server, for what runs inside the pod. */}}
{{- define "mokv.ownEndpoint" -}}
{{- $loopback := ternary "[::1]" "127.0.0.1" (contains ":" .Values.listenIP) }}
{{- printf "%s:%v" $loopback .Values.rpcPort }}
{{- end }}

{{/* One executor for each CPU that the limit begins: 500m is 1, 1.5 is 2. One without a limit. */}}
{{- define "mokv.shards" -}}
{{- $cpu := dig "limits" "cpu" "1" .Values.resources | toString }}
{{- if not (kindIs "invalid" .Values.shards) }}
{{- .Values.shards }}
{{- else if hasSuffix "m" $cpu }}
{{- divf (trimSuffix "m" $cpu | float64) 1000 | ceil | int }}
{{- else }}
{{- $cpu | float64 | ceil | int }}
{{- end }}
{{- end }}

{{/* The affinity of the values; where it has no anti-affinity, the one that antiAffinity names. */}}
{{- define "mokv.affinity" -}}
{{- $affinity := deepCopy .Values.affinity }}
{{- $labels := include "mokv.memberLabels" . | fromYaml }}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" $labels) }}
{{- $rules := dict
      "required" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $term))
      "preferred" (dict "preferredDuringSchedulingIgnoredDuringExecution"
        (list (dict "weight" 100 "podAffinityTerm" $term)))
      "none" dict }}
{{- $rule := get $rules .Values.antiAffinity }}
{{- if and $rule (not (hasKey $affinity "podAntiAffinity")) }}
{{- $_ := set $affinity "podAntiAffinity" $rule }}
{{- end }}
{{- with $affinity }}{{ toYaml . }}{{ end }}
{{- end }}

{{/* The constraints of the values; where one has no labelSelector, it is about the members. */}}
{{- define "mokv.topologySpreadConstraints" -}}
{{- $labels := include "mokv.memberLabels" . | fromYaml }}
{{- $constraints := list }}
{{- range .Values.topologySpreadConstraints }}
{{- $about := hasKey . "labelSelector" | ternary dict (dict "labelSelector" (dict "matchLabels" $labels)) }}
{{- $constraints = append $constraints (merge $about .) }}
{{- end }}
{{- with $constraints }}{{ toYaml . }}{{ end }}
{{- end }}

{{/* Whether a part of .Values.monitoring is on: "true" or "". Takes (list $ part). */}}
{{- define "mokv.monitored" -}}
{{- $root := index . 0 }}
{{- $enabled := (index . 1).enabled }}
{{- if eq (toString $enabled) "auto" }}
{{- if $root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}true{{ end }}
{{- else if $enabled }}true{{ end }}
{{- end }}
