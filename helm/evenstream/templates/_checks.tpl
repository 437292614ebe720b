{{/* What a schema cannot say. Each message names the value, what is expected, and what to do. */}}
{{- define "evenstream.checks" -}}
{{- $roles := include "evenstream.roles" . | fromJsonArray -}}
{{- $runs := or $roles .Values.topics.create -}}
{{- if and (not $roles) (not .Values.topics.create) (not .Values.strimzi.enabled) (not .Values.monitoring.rules.enabled) (not .Values.monitoring.dashboards.enabled) -}}
{{- fail "nothing is enabled: set roles.ROLE.enabled=true for the roles of this domain (seal, attach, a, b, publish, retention), or topics.create, strimzi.enabled, monitoring.rules.enabled or monitoring.dashboards.enabled" -}}
{{- end -}}
{{- if and $runs (not .Values.image.repository) -}}
{{- fail "image.repository is required: no image is published; build one and name it (docs/deploy.md)" -}}
{{- end -}}
{{- if and $runs (not .Values.image.digest) -}}
{{- fail "image.digest is required, as sha256:...: all domains must run the same bytes (docs/deploy.md)" -}}
{{- end -}}
{{- if and $runs (not .Values.kafka.bootstrap) -}}
{{- fail "kafka.bootstrap is required: host:port of one or more brokers" -}}
{{- end -}}
{{- include "evenstream.parties" . -}}
{{- include "evenstream.installed" . -}}
{{- if and (eq .Values.keys.source "generate") (not .Values.allowBothParties) -}}
{{- fail "keys.source=generate makes every role's keys in this namespace: for trials only, so set allowBothParties=true; else `evenstream keys make ROLE` in each domain (docs/deploy.md)" -}}
{{- end -}}
{{- if and (eq .Values.keys.source "generate") (include "evenstream.trustedConfigMap" .) -}}
{{- fail "keys.trusted and keys.trustedConfigMap must be empty with keys.source=generate, which makes trusted.json itself" -}}
{{- end -}}
{{- if and (has .Values.keys.source (list "certManager" "externalSecret")) (ne (join "," $roles) "retention") $roles (not (include "evenstream.trustedConfigMap" .)) -}}
{{- fail (printf "keys.trusted or keys.trustedConfigMap is required with keys.source=%s: the content of trusted.json, from `evenstream keys trust`" .Values.keys.source) -}}
{{- end -}}
{{- if and (eq .Values.keys.source "certManager") (not .Values.keys.certManager.issuerRef.name) -}}
{{- fail "keys.certManager.issuerRef.name is required with keys.source=certManager" -}}
{{- end -}}
{{- if and (eq .Values.keys.source "externalSecret") (not .Values.keys.externalSecret.storeRef.name) -}}
{{- fail "keys.externalSecret.storeRef.name is required with keys.source=externalSecret" -}}
{{- end -}}
{{- if and .Values.keys.trusted (not (and (eq .Values.keys.source "certManager") (eq .Values.keys.trusted "none"))) -}}
{{- if not (hasKey (.Values.keys.trusted | fromJson) "identities") -}}
{{- fail "keys.trusted is not what `evenstream keys trust` writes, a trusted.json with everyone's public keys (it is not shown here, since it may be a private key): use --set-file keys.trusted=trusted.json. Had it been a private key, Helm would have kept it" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.keys.trusted .Values.keys.trustedConfigMap -}}
{{- fail "keys.trusted and keys.trustedConfigMap are both set: name one of them" -}}
{{- end -}}
{{- range $role := list "seal" "attach" -}}
{{- $own := get $.Values.roles $role -}}
{{- if and $own.enabled (gt (int $own.replicas) 1) (not $own.existingClaim) (not (has "ReadWriteMany" (include "evenstream.accessModes" (dict "root" $ "role" $role) | fromJsonArray))) -}}
{{- fail (printf "roles.%s.replicas is %d, but its claim is %s: workers share their folder of keys, so set roles.%s.accessModes=[ReadWriteMany] and a persistence.storageClassName that offers it, or name roles.%s.existingClaim" $role (int $own.replicas) (include "evenstream.accessModes" (dict "root" $ "role" $role)) $role $role) -}}
{{- end -}}
{{- end -}}
{{- $partitions := dig "topics" "partitions" 4 .Values.settings | int -}}
{{- if and .Values.roles.attach.enabled (gt (int .Values.roles.attach.replicas) $partitions) -}}
{{- fail (printf "roles.attach.replicas is %d, but settings.topics.partitions is %d: what is beyond would stand by for ever" (int .Values.roles.attach.replicas) $partitions) -}}
{{- end -}}
{{- if and .Values.strimzi.enabled (not .Values.strimzi.cluster) -}}
{{- fail "strimzi.cluster is required with strimzi.enabled=true: the name of the Kafka resource" -}}
{{- end -}}
{{- if and .Values.strimzi.enabled .Values.strimzi.topics .Values.topics.create -}}
{{- fail "topics.create and strimzi.topics are both true: let one of them make the topics" -}}
{{- end -}}
{{- if and $runs (has .Values.kafka.auth.type (list "tls")) (not .Values.kafka.tls.enabled) -}}
{{- fail "kafka.auth.type is tls, but kafka.tls.enabled is false: a certificate needs TLS" -}}
{{- end -}}
{{- include "evenstream.properties" (dict "path" "kafka.properties" "properties" .Values.kafka.properties) -}}
{{- $scopes := dict "settings" .Values.settings -}}
{{- range $role, $own := .Values.roles -}}{{- $_ := set $scopes (printf "roles.%s.settings" $role) $own.settings -}}{{- end -}}
{{- range $scope, $settings := $scopes -}}
{{- range $group, $names := dict "deployment" (list) "kafka" (list "bootstrap" "properties" "property_files") "http" (list "host" "port" "certificate_file" "key_file" "token_file") "keys" (list "dir" "epoch_dir" "state_dir") "seal" (list "shard") "attach" (list "shard") -}}
{{- if hasKey $settings $group -}}
{{- if not $names -}}
{{- fail (printf "%s.%s is set by the chart: use the value `%s`" $scope $group $group) -}}
{{- end -}}
{{- range $name := $names -}}
{{- if hasKey (get $settings $group) $name -}}
{{- fail (printf "%s.%s.%s is set by the chart, from its own values: leave it out (docs/deploy.md)" $scope $group $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $group := list "consumer_properties" "producer_properties" "admin_properties" -}}
{{- include "evenstream.properties" (dict "path" (printf "%s.kafka.%s" $scope $group) "properties" (dig "kafka" $group dict $settings)) -}}
{{- end -}}
{{- end -}}
{{- include "evenstream.formats" . -}}
{{- include "evenstream.additions" . -}}
{{- end -}}

{{/* Properties of Kafka's client: (dict "path" "kafka.properties" "properties" MAP). None is a secret, none the chart's own. */}}
{{- define "evenstream.properties" -}}
{{- range $name, $value := .properties -}}
{{- if and (eq $name "enable.ssl.certificate.verification") (eq (toString $value) "false") -}}
{{- fail (printf "%s.%s is false: TLS with whoever answers keeps nobody out. Name the brokers' authority in kafka.tls.caSecret" $.path $name) -}}
{{- end -}}
{{- if regexMatch "password|passphrase|secret|[.]pem$" $name -}}
{{- fail (printf "%s.%s: a secret may not stand in values, which Helm keeps and shows: put it into the role's Secret (roles.ROLE.kafka.existingSecret)" $.path $name) -}}
{{- end -}}
{{- if regexMatch "^(bootstrap[.]servers|metadata[.]broker[.]list|security[.]protocol|sasl[.](mechanisms?|username)|ssl[.](ca|certificate|key)[.]location)$" $name -}}
{{- fail (printf "%s.%s is set by the chart, from kafka.bootstrap, kafka.tls, kafka.auth and roles.ROLE.kafka: leave it out" $.path $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
