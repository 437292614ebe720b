{{/*
Who may not meet. A namespace's Secrets are in one hand, so party a and party b do not share one, whether in one release
or in two; and a role runs once. What runs and lies there already is looked up where a cluster answers (an install, an
upgrade); `helm template` sees nothing of it.
*/}}
{{- define "evenstream.parties" -}}
{{- $roles := include "evenstream.roles" . | fromJsonArray -}}
{{- if and (has "a" $roles) (has "b" $roles) (not .Values.allowBothParties) -}}
{{- fail "roles.a.enabled and roles.b.enabled are both true: whoever reads this release's Secrets could undo the secrecy of rows. Install b as a release of its own, in another namespace or cluster; for a trial, set allowBothParties=true" -}}
{{- end -}}
{{- range $found := (lookup "apps/v1" "StatefulSet" .Release.Namespace "").items | default list -}}
{{- $labels := $found.metadata.labels | default dict -}}
{{- $role := get $labels "app.kubernetes.io/component" -}}
{{- if and (eq (get $labels "app.kubernetes.io/name") "evenstream") (eq (get $labels "app.kubernetes.io/part-of") $.Values.deployment) -}}
{{- if and (has $role $roles) (ne $found.metadata.name (include "evenstream.name" (dict "root" $ "role" $role))) -}}
{{- fail (printf "StatefulSet %s runs %s of deployment %s in namespace %s already: this release would run it a second time, on another claim. Keep the release's name, nameOverride and fullnameOverride as they were, or remove that release first" $found.metadata.name $role $.Values.deployment $.Release.Namespace) -}}
{{- end -}}
{{- range $own, $other := dict "a" "b" "b" "a" -}}
{{- if and (eq $role $other) (has $own $roles) (not (has $other $roles)) (not $.Values.allowBothParties) -}}
{{- fail (printf "party %s of deployment %s runs in namespace %s already (StatefulSet %s): whoever reads the Secrets of this namespace could undo the secrecy of rows. Install party %s in another namespace or cluster, in other hands; for a trial, set allowBothParties=true" $other $.Values.deployment $.Release.Namespace $found.metadata.name $own) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $own, $other := dict "a" "b" "b" "a" -}}
{{- if and (has $own $roles) (not $.Values.allowBothParties) -}}
{{- range $name := list (printf "%s-%s" $.Values.deployment $other) (printf "%s-keys-%s" $.Values.deployment $other) -}}
{{- if lookup "v1" "Secret" $.Release.Namespace $name -}}
{{- fail (printf "Secret %s of party %s lies in namespace %s, where party %s would run: whoever reads both could undo the secrecy of rows. Remove it from this namespace, and have party %s change what it holds; for a trial, set allowBothParties=true" $name $other $.Release.Namespace $own $other) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
