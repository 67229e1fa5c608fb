{{- define "bobrapet.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "bobrapet.labels" -}}
app.kubernetes.io/name: bobrapet
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "bobrapet.selector" -}}
control-plane: controller-manager
app.kubernetes.io/name: bobrapet
{{- end -}}

{{- define "bobrapet.account" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else if .Values.serviceAccount.create -}}
{{- include "bobrapet.fullname" . }}-controller-manager
{{- else -}}
default
{{- end -}}
{{- end -}}

{{- define "bobrapet.image" -}}
{{- $image := .Values.controllerManager.manager.image -}}
{{- $tag := $image.tag | default "latest" -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else if eq $tag "latest" -}}
{{- printf "%s:%s" $image.repository .Chart.AppVersion -}}
{{- else -}}
{{- printf "%s:%s" $image.repository $tag -}}
{{- end -}}
{{- end -}}

{{- /* The manager makes its own certificate. */ -}}
{{- define "bobrapet.selfSigned" -}}
{{- if and .Values.webhook.enabled (eq .Values.webhook.certificates.provider "self-signed") }}yes{{ end -}}
{{- end -}}

{{- define "bobrapet.certManager" -}}
{{- if and .Values.webhook.enabled (eq .Values.webhook.certificates.provider "cert-manager") }}yes{{ end -}}
{{- end -}}
