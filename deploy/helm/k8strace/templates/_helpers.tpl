{{- define "k8strace.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "k8strace.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "k8strace.labels" -}}
{{ include "k8strace.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "k8strace.probe" -}}
{{- if and .tls.secretName .tls.clientCA -}}
exec:
  command:
    - python
    - -c
    - import urllib.request; urllib.request.urlopen("http://127.0.0.1:9465{{ .path }}", timeout=3)
timeoutSeconds: 5
{{- else -}}
httpGet:
  port: metrics
  path: {{ .path }}
  {{- if .tls.secretName }}
  scheme: HTTPS
  {{- end }}
{{- end }}
{{- end }}
