{{/* Names and labels. Most take (dict "root" $ "role" "seal"). */}}

{{- define "evenstream.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of a role's objects. */}}
{{- define "evenstream.name" -}}
{{ include "evenstream.fullname" .root }}-{{ .role }}
{{- end -}}

{{/* By which pods are selected: never changes while a release lives. */}}
{{- define "evenstream.selector" -}}
app.kubernetes.io/name: evenstream
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{/* Of a pod: nothing that a new version of the chart would change, and so restart every role for. */}}
{{- define "evenstream.podLabels" -}}
{{ include "evenstream.selector" . }}
app.kubernetes.io/part-of: {{ .root.Values.deployment }}
{{- end -}}

{{- define "evenstream.labels" -}}
{{ include "evenstream.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: {{ .root.Values.deployment }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* The roles of this release, as JSON, in the order of the data. */}}
{{- define "evenstream.roles" -}}
{{- $found := list -}}
{{- range $role := list "seal" "attach" "a" "b" "publish" "retention" -}}
{{- if (get $.Values.roles $role).enabled -}}{{- $found = append $found $role -}}{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* The image, by digest: a tag can come to mean other bytes in one domain than in another. */}}
{{- define "evenstream.image" -}}
{{ printf "%s@%s" .Values.image.repository .Values.image.digest | quote }}
{{- end -}}

{{/* What a role says of its Kafka user: its own values, or the operator's. */}}
{{- define "evenstream.user" -}}
{{- $own := ternary .root.Values.operator (get .root.Values.roles .role) (eq .role "operator") -}}
{{- toJson (dict
    "secret" (default (printf "%s-%s" .root.Values.deployment .role) $own.kafka.existingSecret)
    "username" (default (printf "%s-%s" .root.Values.deployment .role) $own.kafka.username)) -}}
{{- end -}}

{{- define "evenstream.hasState" -}}
{{- if has .role (list "seal" "attach" "a" "b") -}}yes{{- end -}}
{{- end -}}

{{- define "evenstream.hasKeys" -}}
{{- if not (has .role (list "retention" "operator")) -}}yes{{- end -}}
{{- end -}}

{{- define "evenstream.keysSecret" -}}
{{- $own := get .root.Values.roles .role -}}
{{- default (printf "%s-keys-%s" .root.Values.deployment .role) $own.keys.existingSecret -}}
{{- end -}}

{{- define "evenstream.claim" -}}
{{- $own := get .root.Values.roles .role -}}
{{- default (include "evenstream.name" .) $own.existingClaim -}}
{{- end -}}

{{/* Access modes of a role's claim, as JSON. */}}
{{- define "evenstream.accessModes" -}}
{{- $own := get .root.Values.roles .role -}}
{{- default .root.Values.persistence.accessModes (get $own "accessModes") | toJson -}}
{{- end -}}

{{/* The ConfigMap with trusted.json, or nothing where each role's Secret has it. */}}
{{- define "evenstream.trustedConfigMap" -}}
{{- if .Values.keys.trustedConfigMap -}}
{{- .Values.keys.trustedConfigMap -}}
{{- else if .Values.keys.trusted -}}
{{- include "evenstream.fullname" . }}-trusted
{{- end -}}
{{- end -}}

{{/* What a hook leaves: nothing where it went well, and what can be looked at where not. */}}
{{- define "evenstream.hook" -}}
helm.sh/hook: {{ .on }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* When a check before the roles runs. Users and keys of which this very release has copies made are not there before. */}}
{{- define "evenstream.before" -}}
{{- $makes := or (and .Values.strimzi.enabled .Values.strimzi.users) (has .Values.keys.source (list "externalSecret" "certManager")) -}}
{{ ternary "post-install" "pre-install" $makes }},pre-upgrade
{{- end -}}
