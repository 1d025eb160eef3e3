{{/*
What the objects are called, and the labels they are found by. Used by all templates.
*/}}

{{- define "mokv.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* At most 52 characters: Kubernetes adds an ordinal and a revision to it in names and labels. */}}
{{- define "mokv.fullname" -}}
{{- $name := include "mokv.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "mokv.headless" -}}
{{- include "mokv.fullname" . }}-headless
{{- end }}

{{- define "mokv.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "mokv.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* What tells this release's objects from others'. */}}
{{- define "mokv.releaseLabels" -}}
app.kubernetes.io/name: {{ include "mokv.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The members' pods. A StatefulSet's selector cannot change: neither may these. */}}
{{- define "mokv.memberLabels" -}}
{{ include "mokv.releaseLabels" . }}
app.kubernetes.io/component: member
{{- end }}

{{/* The pod of `helm test`. */}}
{{- define "mokv.testLabels" -}}
{{ include "mokv.releaseLabels" . }}
app.kubernetes.io/component: test
{{- end }}

{{/* Labels that change with the chart's version: for objects, never for pods and claims. */}}
{{- define "mokv.labels" -}}
{{ include "mokv.releaseLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}
