{{/*
What values.schema.json cannot say, because it is about several values at once. Used by
statefulset.yaml, which every release renders.
*/}}

{{- define "mokv.checks" -}}
{{- if .Values.tls.enabled }}
{{- fail "tls.enabled: mökv has no TLS yet, so the chart cannot switch it on. Set tls.enabled=false, and keep the ports on a network you trust (networkPolicy.clients, networkPolicy.metrics)." }}
{{- end }}
{{- $grace := .Values.terminationGracePeriodSeconds }}
{{- if le (mul $grace 1000) (int64 .Values.drainTimeoutMs) }}
{{- fail (printf "terminationGracePeriodSeconds: %v s is not longer than drainTimeoutMs, %v ms, so a member that stops would be killed while it drains. Raise the former or lower the latter." $grace .Values.drainTimeoutMs) }}
{{- end }}
{{- $ports := list .Values.rpcPort .Values.serfPort .Values.metricsPort }}
{{- if lt ($ports | uniq | len) 3 }}
{{- fail (printf "rpcPort, serfPort, metricsPort: %v are not three different ports. Choose others." (join ", " $ports)) }}
{{- end }}
{{- end }}
