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

{{/* The affinity of the values, with the anti-affinity that antiAffinity names. */}}
{{- define "mokv.affinity" -}}
{{- $affinity := deepCopy .Values.affinity }}
{{- $labels := include "mokv.memberLabels" . | fromYaml }}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" $labels) }}
{{- if hasKey $affinity "podAntiAffinity" }}
{{- else if eq .Values.antiAffinity "required" }}
{{- $_ := set $affinity "podAntiAffinity"
      (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $term)) }}
{{- else if eq .Values.antiAffinity "preferred" }}
{{- $_ := set $affinity "podAntiAffinity"
      (dict "preferredDuringSchedulingIgnoredDuringExecution"
        (list (dict "weight" 100 "podAffinityTerm" $term))) }}
{{- end }}
{{- with $affinity }}{{ toYaml . }}{{ end }}
{{- end }}

{{/* The constraints of the values; where one has no labelSelector, it is about the members. */}}
{{- define "mokv.topologySpreadConstraints" -}}
{{- $labels := include "mokv.memberLabels" . | fromYaml }}
{{- $constraints := list }}
{{- range .Values.topologySpreadConstraints }}
{{- $members := dict "labelSelector" (dict "matchLabels" $labels) }}
{{- $constraints = append $constraints (hasKey . "labelSelector" | ternary . (merge $members .)) }}
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
