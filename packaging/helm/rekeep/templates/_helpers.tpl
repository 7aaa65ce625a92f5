{{- define "rekeep.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}-rekeep
{{- end }}
{{- define "rekeep.labels" -}}
app.kubernetes.io/name: rekeep
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
