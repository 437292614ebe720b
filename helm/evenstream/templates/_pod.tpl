{{/* Parts of pods. */}}

{{/* Pod Security `restricted`, and more: https://kubernetes.io/docs/concepts/security/pod-security-standards */}}
{{- define "evenstream.podSecurity" -}}
runAsNonRoot: true
{{- if not .Values.openshift }}
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "evenstream.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What every pod of the chart has: (dict "root" $ "role" "seal" "account" "..." ). */}}
{{- define "evenstream.podBasics" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "evenstream.podSecurity" .root | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The defaults of pods with a role's own: maps are merged, lists added, single values replaced. As JSON. */}}
{{- define "evenstream.pod" -}}
{{- $pod := deepCopy .root.Values.podDefaults -}}
{{- $own := dict -}}
{{- if hasKey .root.Values.roles .role -}}{{- $own = (get .root.Values.roles .role).pod -}}{{- end -}}
{{- range $name, $value := $own -}}
{{- $before := get $pod $name -}}
{{- if and (kindIs "map" $value) (ne $name "affinity") -}}
{{- $_ := set $pod $name (mergeOverwrite (deepCopy $before) (deepCopy $value)) -}}
{{- else if and (kindIs "slice" $value) (ne $name "topologySpreadConstraints") -}}
{{- $_ := set $pod $name (concat $before $value) -}}
{{- else -}}
{{- $_ := set $pod $name $value -}}
{{- end -}}
{{- end -}}
{{- toJson $pod -}}
{{- end -}}

{{/*
Volumes: (dict "root" $ "role" "seal" "config" NAME "state" "claim"|"memory"|"" "optional" BOOL). Optional: a doctor's,
which says what is missing; any other container waits for its Secrets.
*/}}
{{- define "evenstream.volumes" -}}
{{- $values := .root.Values -}}
{{- $user := include "evenstream.user" . | fromJson -}}
- name: settings
  configMap:
    name: {{ .config }}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 64Mi}
{{- if ne $values.kafka.auth.type "none" }}
- name: kafka
  secret:
    secretName: {{ $user.secret }}
    defaultMode: 0440
    {{- if .optional }}
    optional: true
    {{- end }}
    items:
      {{- if eq $values.kafka.auth.type "tls" }}
      - {key: {{ $values.kafka.auth.certificateKey }}, path: user.crt}
      - {key: {{ $values.kafka.auth.privateKeyKey }}, path: user.key}
      {{- else }}
      - {key: {{ $values.kafka.auth.passwordKey }}, path: password}
      {{- end }}
{{- end }}
{{- if and $values.kafka.tls.enabled $values.kafka.tls.caSecret }}
- name: kafka-ca
  secret:
    secretName: {{ $values.kafka.tls.caSecret }}
    defaultMode: 0444
    {{- if .optional }}
    optional: true
    {{- end }}
    items:
      - {key: {{ $values.kafka.tls.caKey }}, path: ca.crt}
{{- end }}
{{- if or $values.http.tlsSecret $values.http.tokenSecret }}
- name: http
  projected:
    defaultMode: 0440
    sources:
      {{- with $values.http.tlsSecret }}
      - secret:
          name: {{ . }}
          {{- if $.optional }}
          optional: true
          {{- end }}
          items:
            - {key: tls.crt, path: tls.crt}
            - {key: tls.key, path: tls.key}
      {{- end }}
      {{- with $values.http.tokenSecret }}
      - secret:
          name: {{ . }}
          {{- if $.optional }}
          optional: true
          {{- end }}
          items:
            - {key: token, path: token}
      {{- end }}
{{- end }}
{{- if include "evenstream.hasKeys" . }}
- name: keys
  projected:
    defaultMode: 0440
    sources:
      {{- include "evenstream.keySources" . | nindent 6 }}
{{- end }}
{{- if eq .state "claim" }}
- name: state
  persistentVolumeClaim:
    claimName: {{ include "evenstream.claim" . }}
{{- else if eq .state "memory" }}
- name: state
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
{{- end }}
{{- end -}}

{{/* identity.key and state.key from where `keys.source` says; trusted.json from the ConfigMap, or from the same Secret. */}}
{{- define "evenstream.keySources" -}}
{{- $trusted := include "evenstream.trustedConfigMap" .root -}}
{{- if eq .root.Values.keys.source "certManager" }}
- secret:
    name: {{ include "evenstream.name" . }}-identity
    items:
      - {key: tls.key, path: identity.key}
- secret:
    name: {{ include "evenstream.name" . }}-state
    items:
      - {key: tls.key, path: state.key}
{{- else }}
- secret:
    name: {{ include "evenstream.keysSecret" . }}
    {{- if .optional }}
    optional: true
    {{- end }}
    items:
      - {key: identity.key, path: identity.key}
      - {key: state.key, path: state.key}
      {{- if not $trusted }}
      - {key: trusted.json, path: trusted.json}
      {{- end }}
{{- end }}
{{- with $trusted }}
- configMap:
    name: {{ . }}{{ if and $.early $.root.Values.keys.trusted }}-hook{{ end }}
    items:
      - {key: trusted.json, path: trusted.json}
{{- end }}
{{- end -}}

{{- define "evenstream.mounts" -}}
{{- $values := .root.Values -}}
- {name: settings, mountPath: /etc/evenstream/settings, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if ne $values.kafka.auth.type "none" }}
- {name: kafka, mountPath: /etc/evenstream/kafka, readOnly: true}
{{- end }}
{{- if and $values.kafka.tls.enabled $values.kafka.tls.caSecret }}
- {name: kafka-ca, mountPath: /etc/evenstream/kafka-ca, readOnly: true}
{{- end }}
{{- if or $values.http.tlsSecret $values.http.tokenSecret }}
- {name: http, mountPath: /etc/evenstream/http, readOnly: true}
{{- end }}
{{- if include "evenstream.hasKeys" . }}
- {name: keys, mountPath: /etc/evenstream/keys/{{ .role }}, readOnly: true}
{{- end }}
{{- if .state }}
- {name: state, mountPath: /var/lib/evenstream}
{{- end }}
{{- end -}}

{{/* The variables of every container. A worker's number is its pod's. */}}
{{- define "evenstream.env" -}}
- name: EVENSTREAM_CONFIG
  value: /etc/evenstream/settings/settings.yaml
- name: TMPDIR
  value: /tmp
{{- end -}}

{{/*
/healthz is answered before members are loaded and releases replayed, and both beat the pulse: a long load is no hang.
What the start-up probe waits for is Python, and a Kafka that answers late.
*/}}
{{- define "evenstream.probes" -}}
{{- $scheme := ternary "HTTPS" "HTTP" (not (empty .root.Values.http.tlsSecret)) -}}
startupProbe:
  httpGet: {path: /healthz, port: http, scheme: {{ $scheme }}}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 36
livenessProbe:
  httpGet: {path: /healthz, port: http, scheme: {{ $scheme }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: http, scheme: {{ $scheme }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}

{{/* Where a pod may run, and how important it is; of `evenstream.pod`, parsed. */}}
{{- define "evenstream.scheduling" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Labels and annotations of a pod: (dict "root" $ "role" "seal" "component" "seal-hook" "annotations" MAP). */}}
{{- define "evenstream.podMetadata" -}}
{{- $pod := include "evenstream.pod" . | fromJson -}}
labels:
  {{- include "evenstream.podLabels" (dict "root" .root "role" .component) | nindent 2 }}
  {{- with $pod.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (deepCopy (.annotations | default dict)) $pod.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* One Job or test Pod of `evenstream ...`: (dict "root" $ "role" R "config" C "account" A "args" LIST "state" S "optional" B). */}}
{{- define "evenstream.command" -}}
{{- $pod := include "evenstream.pod" . | fromJson -}}
{{- $own := get .root.Values.roles .role | default dict -}}
{{- $memory := dig "resources" "requests" "memory" "128Mi" $own -}}
restartPolicy: Never
{{ include "evenstream.podBasics" . }}
{{- include "evenstream.scheduling" $pod }}
containers:
  - name: evenstream
    image: {{ include "evenstream.image" .root }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args: {{ toJson .args }}
    env:
      {{- include "evenstream.env" . | nindent 6 }}
      {{- with $pod.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    securityContext:
      {{- include "evenstream.containerSecurity" .root | nindent 6 }}
    # With the limit of the role itself, which its doctor holds against its members.
    resources:
      requests: {cpu: 50m, memory: {{ $memory }}}
      limits: {{ dig "resources" "limits" (dict "memory" "512Mi") $own | toJson }}
    volumeMounts:
      {{- include "evenstream.mounts" . | nindent 6 }}
      {{- with $pod.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  {{- include "evenstream.volumes" . | nindent 2 }}
  {{- with $pod.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/*
The pod of a role that stays, as StatefulSets and the Deployment have it: (dict "root" $ "role" R "args" LIST "state" S).
A role's own parts are there where it has them: a number among several workers, a port with its probes.
*/}}
{{- define "evenstream.rolePod" -}}
{{- $pod := include "evenstream.pod" . | fromJson -}}
{{- $name := include "evenstream.name" . -}}
{{- $values := .root.Values -}}
{{- $with := merge (dict "config" $name "account" $name "optional" false) . -}}
{{- $annotations := dict "checksum/settings" (include "evenstream.settings" . | sha256sum) -}}
{{- if and $values.keys.trusted (include "evenstream.hasKeys" .) -}}
{{- $_ := set $annotations "checksum/trusted" ($values.keys.trusted | sha256sum) -}}
{{- end -}}
{{- if and .serves (eq $values.monitoring.scrape "annotations") -}}
{{- $scheme := ternary "https" "http" (not (empty $values.http.tlsSecret)) -}}
{{- $annotations = merge $annotations (dict "prometheus.io/scrape" "true" "prometheus.io/port" "9100" "prometheus.io/path" "/metrics" "prometheus.io/scheme" $scheme) -}}
{{- end -}}
metadata:
  {{- include "evenstream.podMetadata" (merge (dict "component" .role "annotations" $annotations) .) | nindent 2 }}
spec:
  {{- include "evenstream.podBasics" $with | nindent 2 }}
  terminationGracePeriodSeconds: {{ $pod.terminationGracePeriodSeconds }}
  {{- include "evenstream.scheduling" $pod | nindent 2 }}
  {{- with $pod.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range $constraint := . }}
    {{- $selected := dict "labelSelector" (dict "matchLabels" (include "evenstream.selector" $with | fromYaml)) }}
    - {{- merge (deepCopy $constraint) $selected | toYaml | nindent 6 }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .role }}
      image: {{ include "evenstream.image" .root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: {{ toJson .args }}
      env:
        {{- include "evenstream.env" . | nindent 8 }}
        {{- if .sharded }}
        - name: EVENSTREAM_{{ upper .role }}__SHARD
          valueFrom:
            fieldRef:
              fieldPath: metadata.labels['apps.kubernetes.io/pod-index']
        {{- end }}
        {{- with $pod.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if .serves }}
      ports:
        - name: http
          containerPort: 9100
      {{- include "evenstream.probes" . | nindent 6 }}
      {{- end }}
      securityContext:
        {{- include "evenstream.containerSecurity" .root | nindent 8 }}
      resources:
        {{- toYaml (get $values.roles .role).resources | nindent 8 }}
      volumeMounts:
        {{- include "evenstream.mounts" $with | nindent 8 }}
        {{- with $pod.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "evenstream.volumes" $with | nindent 4 }}
    {{- with $pod.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
