{{/* Names, labels, images, and other values that several templates use. */}}

{{- define "postroad.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "postroad.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "postroad.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* Labels of an object that belongs to no component. Takes the root context. */}}
{{- define "postroad.labels" -}}
app.kubernetes.io/name: {{ include "postroad.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: postroad
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The selector of a component's pods. Takes dict "root" "component" and, for delivery, "pool". */}}
{{- define "postroad.selector" -}}
app.kubernetes.io/name: {{ include "postroad.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .pool }}
postroad.dev/pool: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Labels of a component's objects. Takes the same dict as the selector. */}}
{{- define "postroad.componentLabels" -}}
{{ include "postroad.labels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- with .pool }}
postroad.dev/pool: {{ . | quote }}
{{- end }}
{{- end }}

{{/* The image of a component. Takes dict "root" "component". */}}
{{- define "postroad.image" -}}
{{- $image := .root.Values.image -}}
{{- with get $image.references .component -}}
{{- . -}}
{{- else -}}
{{- with $image.registry }}{{ . | trimSuffix "/" }}/{{ end -}}
{{- $image.repository }}/{{ .component }}:{{ $image.tag | default .root.Chart.AppVersion -}}
{{- end -}}
{{- end }}

{{- define "postroad.imagePullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Pod security "restricted", and files that belong to the process's group. */}}
{{- define "postroad.podSecurityContext" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "postroad.containerSecurityContext" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* Rules for the nodes of pods. Takes the values of a component. */}}
{{- define "postroad.placement" -}}
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
{{- end }}

{{/* Spreads the pods of a Deployment over nodes, by revision. Takes the selector's dict. */}}
{{- define "postroad.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "postroad.selector" . | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}

{{/*
Health. Nothing but a stopped event loop restarts a process: a queue that is away takes it out of
its Service and no more. That is why a start that waits for the queue counts as started.
*/}}
{{- define "postroad.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 1
  timeoutSeconds: 5
  # A start that fails ends the process itself. On a node without spare CPU a start takes minutes.
  failureThreshold: 300
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{/* Variables of every process. Takes dict "root" "component". */}}
{{- define "postroad.env" -}}
- name: POSTROAD_PROCESS
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
- name: POSTROAD_LOG_LEVEL
  value: {{ .root.Values.logLevel }}
- name: POSTROAD_HTTP
  value: {{ printf "%s:8080" .root.Values.listenAddress | quote }}
{{ include "postroad.natsEnv" (dict "root" .root "user" .component) }}
# A pod waits for the queue without a limit, and is not ready meanwhile.
- name: POSTROAD_NATS_PATIENCE
  value: 24h
{{- if eq .component "operator" }}
- name: POSTROAD_INGRESS_KEY_FILE
  value: /secrets/cluster/ingress.key
- name: POSTROAD_DELIVERY_KEY_FILE
  value: /secrets/cluster/delivery.key
{{- else }}
- name: POSTROAD_CLUSTER_KEY_FILE
  value: /secrets/cluster/{{ .component }}.key
{{- end }}
{{- end }}

{{/* How to log in at NATS. Takes dict "root" "user". */}}
{{- define "postroad.natsEnv" -}}
- name: POSTROAD_NATS_URL
  value: {{ include "postroad.natsURL" .root }}
- name: POSTROAD_NATS_API_PREFIX
  value: {{ include "postroad.natsAPIPrefix" .root }}
- name: POSTROAD_NATS_USER
  value: {{ .user }}
- name: POSTROAD_NATS_PASSWORD_FILE
  value: /secrets/nats/{{ .user }}
{{- if include "postroad.natsTLS" .root }}
- name: POSTROAD_NATS_CA_FILE
  value: /secrets/nats-ca/ca.crt
{{- end }}
{{- end }}

{{/* Where connections to mail hosts may go. */}}
{{- define "postroad.egressEnv" -}}
- name: POSTROAD_EGRESS_DENIED
  value: {{ concat .Values.egress.denied .Values.egress.clusterNetworks | join "," | quote }}
{{- with .Values.egress.allowed }}
- name: POSTROAD_EGRESS_ALLOWED
  value: {{ join "," . | quote }}
{{- end }}
{{- end }}

{{/* Annotations of a component's pods. Takes dict "root" "of" (the component's values). */}}
{{- define "postroad.podAnnotations" -}}
{{- $every := .of.podAnnotations | default dict -}}
{{- with include "postroad.natsPasswords" .root -}}
{{- $every = merge (dict "checksum/passwords" .) $every -}}
{{- end -}}
{{- with $every }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The time for a drain: the grace period less the pre-stop pause and the time to close. */}}
{{- define "postroad.drainSeconds" -}}
{{- $seconds := sub (sub (int .grace) (int .pause)) 15 -}}
{{- if lt $seconds 10 -}}
{{- fail (printf "%s.terminationGracePeriodSeconds: %d is too short; it has to be 25 more than the pause before SIGTERM" .of (int .grace)) -}}
{{- end -}}
{{- $seconds -}}
{{- end }}

{{/* Takes the root context. */}}
{{- define "postroad.natsMounts" -}}
{{- if include "postroad.natsTLS" . }}
- name: nats-ca
  mountPath: /secrets/nats-ca
  readOnly: true
{{- end }}
- name: nats-password
  mountPath: /secrets/nats
  readOnly: true
{{- end }}

{{- define "postroad.secretMounts" -}}
{{ include "postroad.natsMounts" . }}
- name: cluster-key
  mountPath: /secrets/cluster
  readOnly: true
{{- end }}

{{/* The passwords of NATS users, and the servers' authorities. Takes dict "root" "users". */}}
{{- define "postroad.natsVolumes" -}}
{{- if include "postroad.natsTLS" .root }}
- name: nats-ca
  secret:
    secretName: {{ include "postroad.natsTLSSecret" .root }}
    defaultMode: 0440
    items:
      - key: ca.crt
        path: ca.crt
{{- end }}
- name: nats-password
  secret:
    secretName: {{ include "postroad.natsSecret" .root }}
    defaultMode: 0440
    items:
      {{- range .users }}
      - key: {{ . }}
        path: {{ . }}
      {{- end }}
{{- end }}

{{/* The same, and cluster keys. Takes dict "root" "users" "keys". */}}
{{- define "postroad.secretVolumes" -}}
{{ include "postroad.natsVolumes" . }}
- name: cluster-key
  secret:
    secretName: {{ .root.Values.clusterKey.existingSecret | default (printf "%s-cluster-key" (include "postroad.fullname" .root)) }}
    defaultMode: 0440
    items:
      {{- range .keys }}
      - key: {{ . }}.key
        path: {{ . }}.key
      {{- end }}
{{- end }}

{{- define "postroad.natsSecret" -}}
{{- $nats := .Values.nats -}}
{{- if $nats.enabled -}}
{{- $nats.auth.existingSecret | default (printf "%s-nats-auth" (include "postroad.fullname" .)) -}}
{{- else -}}
{{- required "nats.external.authSecret: is needed with nats.enabled: false" $nats.external.authSecret -}}
{{- end -}}
{{- end }}

{{/* Whether connections to the servers are encrypted; true or nothing. */}}
{{- define "postroad.natsTLS" -}}
{{- if .Values.nats.enabled -}}
{{- if .Values.nats.tls.enabled -}}true{{- end -}}
{{- else if .Values.nats.external.caSecret -}}true{{- end -}}
{{- end }}

{{/* The Secret with the servers' authorities (ca.crt), and their certificate. */}}
{{- define "postroad.natsTLSSecret" -}}
{{- if .Values.nats.enabled -}}
{{- .Values.nats.tls.existingSecret | default (printf "%s-nats-tls" (include "postroad.fullname" .)) -}}
{{- else -}}
{{- .Values.nats.external.caSecret -}}
{{- end -}}
{{- end }}

{{/* The subjects of JetStream's API in the accounts of files/nats-accounts.conf. */}}
{{- define "postroad.natsAPIPrefix" -}}JS.POSTROAD.API{{- end }}

{{/* The servers by name: a client tries the next one without waiting for an endpoint update. */}}
{{- define "postroad.natsURL" -}}
{{- $full := include "postroad.fullname" . -}}
{{- if not .Values.nats.enabled -}}
{{- required "nats.external.url: is needed with nats.enabled: false" .Values.nats.external.url -}}
{{- else -}}
{{- $urls := list -}}
{{- range until (int .Values.nats.replicas) -}}
{{- $urls = append $urls (printf "nats://%s-nats-%d.%s-nats-headless.%s.svc:4222" $full . $full $.Release.Namespace) -}}
{{- end -}}
{{- join "," $urls -}}
{{- end -}}
{{- end }}

{{/* A quantity in octets. Takes dict "of" (the value's name) "value". */}}
{{- define "postroad.octets" -}}
{{- $text := .value | toString -}}
{{- if not (kindIs "string" .value) -}}{{- $text = .value | int64 | toString -}}{{- end -}}
{{- if not (regexMatch "^[1-9][0-9]*(Mi|Gi|Ti)?$" $text) -}}
{{- fail (printf "%s: %q is not a size; write octets, or a whole number with Mi, Gi or Ti, such as 10Gi" .of $text) -}}
{{- end -}}
{{- $number := regexFind "^[0-9]+" $text | int64 -}}
{{- $units := dict "" 1 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mul $number (get $units (regexFind "[A-Z]i$" $text) | int64) -}}
{{- end }}

{{/* max_file_store of one server: less than the volume, so that nats-server refuses first. */}}
{{- define "postroad.capacity" -}}
{{- if .Values.nats.enabled -}}
{{- div (mul (include "postroad.octets" (dict "of" "nats.storage.size" "value" .Values.nats.storage.size) | int64) 85) 100 -}}
{{- else if .Values.nats.external.capacity -}}
{{- include "postroad.octets" (dict "of" "nats.external.capacity" "value" .Values.nats.external.capacity) -}}
{{- end -}}
{{- end }}

{{/* A HorizontalPodAutoscaler by CPU. Takes dict "root" "name" "labels" "of" (its values). */}}
{{- define "postroad.hpa" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .name }}
  labels:
    {{- .labels | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .name }}
  minReplicas: {{ .of.minReplicas | int }}
  maxReplicas: {{ .of.maxReplicas | int }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .of.targetCPUUtilizationPercentage | int }}
{{- end }}

{{/* A PodDisruptionBudget: one pod at a time. Takes the selector's dict with "name". */}}
{{- define "postroad.pdb" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  labels:
    {{- include "postroad.componentLabels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  {{- if and (eq .component "nats") (gt (int .root.Values.nats.replicas) 1) }}
  # A server that is behind in one stream still holds others. It must stay while another is down.
  unhealthyPodEvictionPolicy: IfHealthyBudget
  {{- else }}
  # A pod that is not ready does no work, so it may always be evicted.
  unhealthyPodEvictionPolicy: AlwaysAllow
  {{- end }}
  selector:
    matchLabels:
      {{- include "postroad.selector" . | nindent 6 }}
{{- end }}

{{/* The name of a pool's Deployment. Takes dict "root" "pool". */}}
{{- define "postroad.deliveryName" -}}
{{- include "postroad.fullname" .root }}-delivery{{ if ne .pool "default" }}-{{ .pool }}{{ end -}}
{{- end }}

{{/* The egress pools as a list: default, and the others, which inherit what they do not set. */}}
{{- define "postroad.pools" -}}
{{- $default := omit .Values.delivery "pools" -}}
{{- $default = set (deepCopy $default) "hostname" .Values.hostname -}}
{{- $pools := list (set (deepCopy $default) "name" "default") -}}
{{- range .Values.delivery.pools -}}
{{- $pool := deepCopy $default -}}
{{- range $key, $value := . -}}
{{- if eq $key "autoscaling" -}}
{{- range $of, $each := $value -}}{{- $_ := set $pool.autoscaling $of $each -}}{{- end -}}
{{- else -}}
{{- $_ := set $pool $key $value -}}
{{- end -}}
{{- end -}}
{{- $pools = append $pools $pool -}}
{{- end -}}
{{- $pools | toYaml -}}
{{- end }}
