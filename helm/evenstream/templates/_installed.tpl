{{/*
What an install or an upgrade meets that an earlier one has left: looked up where a cluster answers, and not by
`helm template`. Each would else end half-way, or in a role that cannot go on.
*/}}
{{- define "evenstream.installed" -}}
{{- $roles := include "evenstream.roles" . | fromJsonArray -}}
{{- if and $roles (not (include "evenstream.trustedConfigMap" .)) (lookup "v1" "ConfigMap" .Release.Namespace (printf "%s-trusted" (include "evenstream.fullname" .))) -}}
{{- fail "keys.trusted was given before and is empty now: give all that the install had again (--set-file keys.trusted=trusted.json)" -}}
{{- end -}}
{{- range $found := (lookup "v1" "PersistentVolumeClaim" .Release.Namespace "").items | default list -}}
{{- $labels := $found.metadata.labels | default dict -}}
{{- $role := get $labels "app.kubernetes.io/component" -}}
{{- if and (eq (get $labels "app.kubernetes.io/name") "evenstream") (eq (get $labels "app.kubernetes.io/part-of") $.Values.deployment) (has $role $roles) (not (get $.Values.roles $role).existingClaim) -}}
{{- $own := include "evenstream.claim" (dict "root" $ "role" $role) -}}
{{- if ne $found.metadata.name $own -}}
{{- fail (printf "claim %s of %s of deployment %s is in namespace %s, and this release would make another, %s: without the keys on the first %s cannot go on. Install under the name that made it, or set roles.%s.existingClaim=%s" $found.metadata.name $role $.Values.deployment $.Release.Namespace $own $role $role $found.metadata.name) -}}
{{- end -}}
{{- $modes := include "evenstream.accessModes" (dict "root" $ "role" $role) | fromJsonArray -}}
{{- if ne (sortAlpha $modes | join ",") (sortAlpha $found.spec.accessModes | join ",") -}}
{{- fail (printf "claim %s is there with accessModes %s, and a claim keeps those that it was made with; these values ask for %s. Make a claim with them, copy what lies on this one while %s does not run, and name it in roles.%s.existingClaim (docs/deploy.md, Size)" $found.metadata.name (toJson $found.spec.accessModes) (toJson $modes) $role $role) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
