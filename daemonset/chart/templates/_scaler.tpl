{{/* The scaler's container, the same in a pod of its own and beside the exporter. */}}
{{- define "gpu-scaler.scalerContainer" -}}
{{- $scaler := .Values.scaler -}}
name: scaler
image: {{ include "gpu-scaler.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [gpu-scaler, run]
args:
  {{- include "gpu-scaler.scalerArgs" . | trim | nindent 2 }}
{{- $hostNetwork := ternary .Values.exporter.hostNetwork $scaler.hostNetwork (eq $scaler.mode "sidecar") }}
{{- if or $hostNetwork $scaler.extraEnv }}
env:
  {{- if $hostNetwork }}
  # The host's name would be the node's, and commands look for a pod by that name.
  - {name: GPU_SCALER_IDENTITY, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  {{- end }}
  {{- with $scaler.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
ports:
  - {name: http, containerPort: 9446}
  {{- if $scaler.metricsApi.enabled }}
  - {name: metrics-api, containerPort: 6443}
  {{- end }}
livenessProbe:
  {{- include "gpu-scaler.probe" (dict "web" $scaler.web "path" "/healthz" "port" "http") | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
{{- if ne $scaler.mode "sidecar" }}
readinessProbe:
  {{- include "gpu-scaler.probe" (dict "web" $scaler.web "path" "/readyz" "port" "http") | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}
resources:
  {{- toYaml $scaler.resources | nindent 2 }}
securityContext:
  {{- if eq $scaler.mode "sidecar" }}
  # The pod's user is root, for the exporter's sake.
  {{- toYaml (pick $scaler.podSecurityContext "runAsNonRoot" "runAsUser" "runAsGroup") | nindent 2 }}
  {{- end }}
  {{- toYaml $scaler.securityContext | nindent 2 }}
{{- with include "gpu-scaler.scalerMounts" . | trim }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "gpu-scaler.scalerArgs" -}}
{{- $scaler := .Values.scaler -}}
- --lease-namespace={{ include "gpu-scaler.namespace" . }}
{{- if ne (include "gpu-scaler.fullname" .) "gpu-scaler" }}
- --lease-name={{ include "gpu-scaler.fullname" . }}
{{- end }}
- --exporters.namespace={{ .Values.exporter.namespace }}
{{- with $scaler.namespaces }}
- --namespaces={{ join "," . }}
{{- end }}
{{- if ne (join "," $scaler.kinds) "deployments.apps" }}
- --kinds={{ join "," $scaler.kinds }}
{{- end }}
{{- if eq $scaler.source "prometheus" }}
- --source=prometheus
{{- else }}
{{- if or (include "gpu-scaler.exporterServesTls" .) (eq $scaler.exporters.scheme "https") }}
- --exporters.scheme=https
{{- end }}
{{- include "gpu-scaler.accessArgs" (dict "of" "exporters" "access" $scaler.exporters.access) }}
{{- end }}
{{- if $scaler.prometheus.url }}
- --prometheus.url={{ $scaler.prometheus.url }}
{{- if ne $scaler.prometheus.metrics "gpu-exporter" }}
- --prometheus.metrics={{ $scaler.prometheus.metrics }}
{{- end }}
{{- with $scaler.prometheus.exportersMatcher }}
- {{ printf "--prometheus.exporters-matcher=%s" . | quote }}
{{- end }}
{{- range $scaler.prometheus.matchers }}
- {{ printf "--prometheus.matcher=%s" . | quote }}
{{- end }}
{{- range $name, $value := $scaler.prometheus.params }}
- {{ printf "--prometheus.param=%s=%v" $name $value | quote }}
{{- end }}
{{- range $name, $value := $scaler.prometheus.headers }}
- {{ printf "--prometheus.header=%s: %s" $name $value | quote }}
{{- end }}
{{- include "gpu-scaler.accessArgs" (dict "of" "prometheus" "access" $scaler.prometheus.access) }}
{{- end }}
{{- include "gpu-scaler.accessArgs" (dict "of" "servers" "access" $scaler.servers.access) }}
{{- with $scaler.servers.credentialsNamespaces }}
- {{ printf "--servers.credentials-namespaces=%s" (join "," .) | quote }}
{{- end }}
{{- with $scaler.servers.credentialsKey }}
- --servers.credentials-file=/etc/gpu-scaler/servers/{{ . }}
{{- end }}
{{- with $scaler.metricsApi }}
{{- if .enabled }}
- --metrics-api
- --metrics-api.service={{ $.Release.Namespace }}/{{ include "gpu-scaler.metricsApiFullname" $ }}
{{- if and (include "gpu-scaler.isRenamed" $) (eq .certificate.from "scaler") }}
- --metrics-api.secret={{ include "gpu-scaler.metricsApiFullname" $ }}
{{- end }}
{{- if ne .certificate.from "scaler" }}
- --metrics-api.tls-cert-file=/etc/gpu-scaler/metrics-api/tls.crt
- --metrics-api.tls-key-file=/etc/gpu-scaler/metrics-api/tls.key
{{- with .certificate.caKey }}
- --metrics-api.tls-ca-file=/etc/gpu-scaler/metrics-api/{{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if $scaler.idle.all }}
- --idle.all
{{- end }}
{{- if $scaler.web.configSecret }}
- --web.config.file=/etc/gpu-scaler/web/{{ $scaler.web.configKey }}
{{- end }}
{{- with $scaler.interval }}
- --interval={{ . }}
{{- end }}
{{- if $scaler.dryRun }}
- --dry-run
{{- end }}
{{- include "gpu-scaler.logArgs" $scaler }}
{{- range $scaler.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{/* The flags for whom to believe and how to show who asks: (dict "of" PREFIX "access" VALUES). */}}
{{- define "gpu-scaler.accessArgs" -}}
{{- $of := .of -}}
{{- with .access }}
{{- $folder := printf "/etc/gpu-scaler/%s" $of }}
{{- with .keys.ca }}
- --{{ $of }}.tls-ca-file={{ $folder }}/{{ . }}
{{- end }}
{{- with .serverName }}
- --{{ $of }}.tls-server-name={{ . }}
{{- end }}
{{- if .insecureSkipVerify }}
- --{{ $of }}.tls-insecure-skip-verify
{{- end }}
{{- with .keys.certificate }}
- --{{ $of }}.tls-cert-file={{ $folder }}/{{ . }}
{{- end }}
{{- with .keys.key }}
- --{{ $of }}.tls-key-file={{ $folder }}/{{ . }}
{{- end }}
{{- with .username }}
- {{ printf "--%s.username=%s" $of . | quote }}
{{- end }}
{{- with .keys.password }}
- --{{ $of }}.password-file={{ $folder }}/{{ . }}
{{- end }}
{{- with .keys.bearerToken }}
- --{{ $of }}.bearer-token-file={{ $folder }}/{{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* The Secrets that hold credentials for what the scaler reads, by whose they are. */}}
{{- define "gpu-scaler.accessSecrets" -}}
{{- $secrets := dict }}
{{- with .Values.scaler }}
{{- if and (eq .source "exporters") .exporters.access.secret }}
{{- $_ := set $secrets "exporters" .exporters.access.secret }}
{{- end }}
{{- if and .prometheus.url .prometheus.access.secret }}
{{- $_ := set $secrets "prometheus" .prometheus.access.secret }}
{{- end }}
{{- with .servers.access.secret }}
{{- $_ := set $secrets "servers" . }}
{{- end }}
{{- end }}
{{- toYaml $secrets }}
{{- end }}

{{- define "gpu-scaler.certificateSecret" -}}
{{- with .Values.scaler.metricsApi }}
{{- if and .enabled (eq .certificate.from "secret") }}{{ .certificate.secretName }}{{ end }}
{{- if and .enabled (eq .certificate.from "certManager") }}{{ include "gpu-scaler.metricsApiFullname" $ }}-tls{{ end }}
{{- end }}
{{- end }}

{{- define "gpu-scaler.scalerMounts" -}}
{{- range $of, $_ := include "gpu-scaler.accessSecrets" . | fromYaml }}
- {name: {{ $of }}-access, mountPath: /etc/gpu-scaler/{{ $of }}, readOnly: true}
{{- end }}
{{- if include "gpu-scaler.certificateSecret" . }}
- {name: certificate, mountPath: /etc/gpu-scaler/metrics-api, readOnly: true}
{{- end }}
{{- if .Values.scaler.web.configSecret }}
- {name: scaler-web-config, mountPath: /etc/gpu-scaler/web, readOnly: true}
{{- end }}
{{- if eq .Values.scaler.mode "sidecar" }}
- {name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}
{{- with .Values.scaler.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "gpu-scaler.scalerVolumes" -}}
{{- range $of, $secret := include "gpu-scaler.accessSecrets" . | fromYaml }}
- name: {{ $of }}-access
  secret:
    secretName: {{ $secret }}
{{- end }}
{{- with include "gpu-scaler.certificateSecret" . }}
- name: certificate
  secret:
    secretName: {{ . }}
{{- end }}
{{- with .Values.scaler.web.configSecret }}
- name: scaler-web-config
  secret:
    secretName: {{ . }}
{{- end }}
{{- if eq .Values.scaler.mode "sidecar" }}
# Mounted by the scaler's container alone: the exporter beside it has no token.
- name: token
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3607}
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
      - downwardAPI:
          items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
{{- end }}
{{- with .Values.scaler.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What the scaler may do with Deployments and their like, in a Role or a ClusterRole. */}}
{{- define "gpu-scaler.scalerRules" -}}
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list, watch]
{{- range .Values.scaler.kinds }}
{{- $plural := regexFind "^[^.]+" . }}
{{- $group := trimPrefix $plural . | trimPrefix "." }}
- apiGroups: [{{ $group | default "\"\"" }}]
  resources: [{{ $plural }}]
  verbs: [list, watch]
- apiGroups: [{{ $group | default "\"\"" }}]
  resources: [{{ $plural }}/scale]
  verbs: [get, patch]
{{- end }}
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- if .Values.scaler.scaleDownPods }}
# The annotation by which a ReplicaSet chooses the pods that it deletes.
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
{{- end }}
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
# Deployments that these target are refused, not fought over.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [list, watch]
# Where the pages of `gpu-scaler/queue` are.
- apiGroups: [""]
  resources: [services]
  verbs: [get]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list]
{{- end }}
