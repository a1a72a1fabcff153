{{/* Names do not come from the release's name: the documentation, the command line's defaults and the
alerts know these. */}}
{{- define "gpu-scaler.fullname" -}}
{{- with .Values -}}
{{- if .fullnameOverride -}}
{{ .fullnameOverride }}
{{- else if not .nameOverride -}}
gpu-scaler
{{- else if contains .nameOverride $.Release.Name -}}
{{ $.Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" $.Release.Name .nameOverride | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "gpu-scaler.isRenamed" -}}
{{ if or .Values.nameOverride .Values.fullnameOverride }}yes{{ end }}
{{- end }}

{{- define "gpu-scaler.exporterFullname" -}}
{{ if include "gpu-scaler.isRenamed" . }}{{ include "gpu-scaler.fullname" . }}-exporter{{ else }}gpu-exporter{{ end }}
{{- end }}

{{- define "gpu-scaler.metricsApiFullname" -}}
{{ if include "gpu-scaler.isRenamed" . }}{{ include "gpu-scaler.fullname" . }}-metrics-api{{ else }}gpu-metrics-api{{ end }}
{{- end }}

{{/* The labels of an object: (dict "root" $ "labels" MORE). */}}
{{- define "gpu-scaler.labelsWith" -}}
{{- $root := .root -}}
{{- $standard := dict
  "app.kubernetes.io/part-of" "gpu-scaler"
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/managed-by" $root.Release.Service
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_")
-}}
{{ toYaml (merge $standard .labels $root.Values.commonLabels) }}
{{- end }}

{{- define "gpu-scaler.labels" -}}
{{ include "gpu-scaler.labelsWith" (dict "root" . "labels" dict) }}
{{- end }}

{{/* The labels of a pod, without the chart's version: a new chart alone restarts no pod. The selectors
have only the first. (dict "root" $ "app" NAME "labels" MORE) */}}
{{- define "gpu-scaler.podLabels" -}}
{{- $standard := dict
  "app.kubernetes.io/name" .app
  "app.kubernetes.io/part-of" "gpu-scaler"
  "app.kubernetes.io/instance" .root.Release.Name
-}}
{{ toYaml (merge $standard .labels .root.Values.commonLabels) }}
{{- end }}

{{/* A digest wins over a tag: it names the very bytes. */}}
{{- define "gpu-scaler.image" -}}
{{- with .Values.image -}}
{{- $repository := ternary "gpu-scaler" .repository .local -}}
{{- with $.Values.global.imageRegistry | default .registry }}
{{- $repository = printf "%s/%s" . $repository -}}
{{- end }}
{{- if .digest -}}
{{ $repository }}@{{ .digest }}
{{- else -}}
{{ $repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{/* The Secrets for the registry, each by its name or as in a pod. */}}
{{- define "gpu-scaler.imagePullSecrets" -}}
{{- $names := list }}
{{- range concat .Values.image.pullSecrets .Values.imagePullSecrets (.Values.global.imagePullSecrets | default list) }}
{{- $names = append $names (kindIs "string" . | ternary . (dig "name" "" (kindIs "map" . | ternary . dict))) }}
{{- end }}
{{- with $names | uniq }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
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

{{/* `app.kubernetes.io/name` of the scaler's pods. */}}
{{- define "gpu-scaler.app" -}}
{{ if eq .Values.scaler.mode "sidecar" }}gpu-exporter{{ else }}gpu-scaler{{ end }}
{{- end }}

{{- define "gpu-scaler.exporterAccount" -}}
{{- .Values.exporter.serviceAccount.name | default (include "gpu-scaler.exporterFullname" .) }}
{{- end }}

{{- define "gpu-scaler.account" -}}
{{- if eq .Values.scaler.mode "sidecar" -}}
{{ include "gpu-scaler.exporterAccount" . }}
{{- else -}}
{{ .Values.scaler.serviceAccount.name | default (include "gpu-scaler.fullname" .) }}
{{- end }}
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
    name: {{ include "gpu-scaler.exporterAccount" . }}
    namespace: {{ .Values.exporter.namespace }}
{{- end }}

{{/* Does the exporter ask the Kubernetes API? */}}
{{- define "gpu-scaler.exporterNeedsToken" -}}
{{- if or .Values.exporter.dra .Values.exporter.publishPodLabels }}yes{{ end }}
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

{{/* What a monitor has to know of the port of a program: (dict "monitor" … "tls" …). */}}
{{- define "gpu-scaler.monitorEndpoint" -}}
{{- if .tls }}
scheme: https
{{- end }}
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
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* What both pods take from their values as it is: (dict "values" … "root" $). */}}
{{- define "gpu-scaler.podSettings" -}}
{{- with .values }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if .hostNetwork }}
hostNetwork: true
{{- end }}
{{- with .dnsPolicy | default (ternary "ClusterFirstWithHostNet" "" .hostNetwork) }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- include "gpu-scaler.imagePullSecrets" $.root }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* A pod's annotations, where it has any: (dict "values" … "port" … "tls" …). */}}
{{- define "gpu-scaler.podAnnotations" -}}
{{- $annotations := deepCopy .values.podAnnotations }}
{{- if .values.scrapeAnnotations }}
{{- $scrape := dict "prometheus.io/scrape" "true" "prometheus.io/port" (toString .port) }}
{{- if .tls }}
{{- $_ := set $scrape "prometheus.io/scheme" "https" }}
{{- end }}
{{- $annotations = merge $annotations $scrape }}
{{- end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The flags of the log: values. */}}
{{- define "gpu-scaler.logArgs" -}}
{{- with .logLevel }}
- --log.level={{ . }}
{{- end }}
{{- with .logFormat }}
- --log.format={{ . }}
{{- end }}
{{- end }}
