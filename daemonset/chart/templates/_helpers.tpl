{{/* What is on every object of ours. */}}
{{- define "gpu-scaler.labels" -}}
app.kubernetes.io/part-of: gpu-scaler
{{- end }}

{{/* A digest wins over a tag: it names the very bytes. */}}
{{- define "gpu-scaler.image" -}}
{{- with .Values.image -}}
{{- $repository := ternary "gpu-scaler" .repository .local -}}
{{- if .digest -}}
{{ $repository }}@{{ .digest }}
{{- else -}}
{{ $repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{- define "gpu-scaler.isSidecar" -}}
{{- if and .Values.scaler.enabled (eq .Values.scaler.mode "sidecar") }}yes{{ end }}
{{- end }}

{{/* Where the scaler's pods are, and with them its Lease, its Service and its account. */}}
{{- define "gpu-scaler.namespace" -}}
{{ if eq .Values.scaler.mode "sidecar" }}{{ .Values.exporter.namespace }}{{ else }}{{ .Release.Namespace }}{{ end }}
{{- end }}

{{- define "gpu-scaler.account" -}}
{{ if eq .Values.scaler.mode "sidecar" }}gpu-exporter{{ else }}gpu-scaler{{ end }}
{{- end }}

{{- define "gpu-scaler.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "gpu-scaler.account" . }}
    namespace: {{ include "gpu-scaler.namespace" . }}
{{- end }}

{{- define "gpu-scaler.exporterSubjects" -}}
subjects:
  - kind: ServiceAccount
    name: gpu-exporter
    namespace: {{ .Values.exporter.namespace }}
{{- end }}

{{/* Does the exporter ask the Kubernetes API? */}}
{{- define "gpu-scaler.exporterNeedsToken" -}}
{{- if or .Values.exporter.dra .Values.exporter.podLabels }}yes{{ end }}
{{- end }}

{{- define "gpu-scaler.exporterServesTls" -}}
{{- if and .Values.exporter.web.configSecret .Values.exporter.web.tls }}yes{{ end }}
{{- end }}

{{- define "gpu-scaler.scalerServesTls" -}}
{{- if and .Values.scaler.web.configSecret .Values.scaler.web.tls }}yes{{ end }}
{{- end }}

{{/* How the kubelet looks at a program, without a certificate of its own: (dict "web" … "path" … "port" …). */}}
{{- define "gpu-scaler.probe" -}}
{{- if and .web.configSecret .web.clientCertificates -}}
tcpSocket: {port: {{ .port }}}
{{- else -}}
httpGet: {path: {{ .path }}, port: {{ .port }}{{ if and .web.configSecret .web.tls }}, scheme: HTTPS{{ end }}}
{{- end }}
{{- end }}

{{/* What a PodMonitor has to know of the port of a program: (dict "root" $ "monitor" … "tls" …). */}}
{{- define "gpu-scaler.podMonitorEndpoint" -}}
{{- with .monitor }}
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .tlsConfig }}
tlsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .basicAuth }}
basicAuth:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* A GPU, or anything else that is not cpu or memory, is refused by the schema. */}}
{{- define "gpu-scaler.hardened" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
