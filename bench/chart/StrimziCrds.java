// Writes the JSON Schema of KafkaTopic and KafkaUser, version v1, from the classes of Strimzi's api jar.
//
// Strimzi's own generator is in no package registry, and its CRDs are in its repository only. What it reads is in the
// jar: the getters of each class, Jackson's annotations, and annotations of its own, whose classes are declared below
// so that the JVM shows them. As there, a class of several kinds is one object with the properties of all of them.
//
// Usage: java -cp JARS StrimziCrds FOLDER

import com.fasterxml.jackson.annotation.JsonIgnore;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import com.fasterxml.jackson.annotation.JsonSubTypes;
import com.fasterxml.jackson.annotation.JsonTypeInfo;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.strimzi.crdgenerator.annotations.Maximum;
import io.strimzi.crdgenerator.annotations.Minimum;
import io.strimzi.crdgenerator.annotations.Pattern;
import io.strimzi.crdgenerator.annotations.PresentInVersions;
import io.strimzi.crdgenerator.annotations.RequiredInVersions;
import java.beans.Introspector;
import java.io.File;
import java.lang.reflect.Method;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;

public class StrimziCrds {
    public static void main(String[] arguments) throws Exception {
        for (String name : List.of("topic.KafkaTopic", "user.KafkaUser")) {
            Class<?> kind = Class.forName("io.strimzi.api.kafka.model." + name);
            Map<String, Object> schema = object(kind);
            @SuppressWarnings("unchecked")
            Map<String, Object> properties = (Map<String, Object>) schema.get("properties");
            properties.put("apiVersion", Map.of("type", "string"));
            properties.put("kind", Map.of("type", "string"));
            properties.put("metadata", Map.of("type", "object"));
            File file = new File(arguments[0], kind.getSimpleName() + ".json");
            new ObjectMapper().writerWithDefaultPrettyPrinter().writeValue(file, schema);
        }
    }

    /** The versions are ranges in the order v1alpha1, v1beta1, v1beta2, v1; only whether v1 is in one matters here. */
    static boolean holdsV1(String versions) {
        return versions.equals("all") || versions.equals("v1") || versions.endsWith("+") || versions.endsWith("-v1");
    }

    static Map<String, Object> object(Class<?> type) throws Exception {
        Map<String, Object> properties = new TreeMap<>();
        TreeSet<String> required = new TreeSet<>();
        collect(type, properties, required);
        JsonTypeInfo kinds = type.getAnnotation(JsonTypeInfo.class);
        if (kinds != null) {
            List<String> names = new ArrayList<>();
            TreeSet<String> always = null;
            for (JsonSubTypes.Type one : type.getAnnotation(JsonSubTypes.class).value()) {
                names.add(one.name());
                TreeSet<String> its = new TreeSet<>();
                collect(one.value(), properties, its);
                if (always == null) {
                    always = its;
                } else {
                    always.retainAll(its);
                }
            }
            required.addAll(always);
            required.add(kinds.property());
            properties.put(kinds.property(), Map.of("type", "string", "enum", names));
        }
        Map<String, Object> schema = new LinkedHashMap<>();
        schema.put("type", "object");
        schema.put("properties", properties);
        if (!required.isEmpty()) {
            schema.put("required", required);
        }
        return schema;
    }

    /** Puts a class's properties, those that its property order names where it has one, beside what is there. */
    static void collect(Class<?> type, Map<String, Object> properties, TreeSet<String> required) throws Exception {
        JsonPropertyOrder order = type.getAnnotation(JsonPropertyOrder.class);
        for (Method getter : type.getMethods()) {
            String method = getter.getName();
            int prefix = method.startsWith("get") ? 3 : method.startsWith("is") ? 2 : 0;
            if (prefix == 0 || method.length() == prefix || getter.getParameterCount() > 0 || getter.isBridge()
                    || getter.isAnnotationPresent(JsonIgnore.class)) {
                continue;
            }
            String name = Introspector.decapitalize(method.substring(prefix));
            JsonProperty stated = getter.getAnnotation(JsonProperty.class);
            if (stated != null && !stated.value().isEmpty()) {
                name = stated.value();
            }
            if (name.equals("additionalProperties")) { // where Jackson keeps fields that it does not know
                continue;
            }
            boolean listed = order == null ? getter.getDeclaringClass().getName().startsWith("io.strimzi.")
                    : List.of(order.value()).contains(name);
            if (!listed || HasMetadata.class.isAssignableFrom(type) && !List.of("spec", "status").contains(name)) {
                continue;
            }
            PresentInVersions present = getter.getAnnotation(PresentInVersions.class);
            if (present != null && !holdsV1(present.value())) {
                continue;
            }
            RequiredInVersions needed = getter.getAnnotation(RequiredInVersions.class);
            if (stated != null && stated.required() || needed != null && holdsV1(needed.value())) {
                required.add(name);
            }
            Map<String, Object> schema = new LinkedHashMap<>(of(getter.getGenericReturnType()));
            Minimum least = getter.getAnnotation(Minimum.class);
            Maximum most = getter.getAnnotation(Maximum.class);
            Pattern pattern = getter.getAnnotation(Pattern.class);
            if (least != null) {
                schema.put("minimum", least.value());
            }
            if (most != null) {
                schema.put("maximum", most.value());
            }
            if (pattern != null) {
                schema.put("pattern", pattern.value());
            }
            properties.put(name, schema);
        }
    }

    static Map<String, Object> of(Type type) throws Exception {
        if (type instanceof ParameterizedType generic) {
            Class<?> raw = (Class<?>) generic.getRawType();
            Type last = generic.getActualTypeArguments()[generic.getActualTypeArguments().length - 1];
            if (List.class.isAssignableFrom(raw)) {
                return Map.of("type", "array", "items", of(last));
            }
            if (Map.class.isAssignableFrom(raw) && last == String.class) {
                return Map.of("type", "object", "additionalProperties", of(last));
            }
            if (Map.class.isAssignableFrom(raw)) {
                return Map.of("type", "object", "x-kubernetes-preserve-unknown-fields", true);
            }
        }
        if (!(type instanceof Class<?> plain)) {
            throw new IllegalArgumentException("no schema is known for " + type);
        }
        if (plain == String.class) {
            return Map.of("type", "string");
        }
        if (plain == boolean.class || plain == Boolean.class) {
            return Map.of("type", "boolean");
        }
        if (plain == double.class || plain == Double.class) {
            return Map.of("type", "number");
        }
        if (List.of(int.class, Integer.class, long.class, Long.class).contains(plain)) {
            return Map.of("type", "integer");
        }
        if (plain.isEnum()) {
            List<Object> names = new ArrayList<>();
            Method value = plain.getMethod("toValue");
            for (Object constant : plain.getEnumConstants()) {
                names.add(value.invoke(constant));
            }
            return Map.of("type", "string", "enum", names);
        }
        if (plain.getName().startsWith("io.strimzi.")) {
            return object(plain);
        }
        // Kubernetes' own classes, as the reference to a Secret's key: name, key, optional.
        if (plain.getSimpleName().equals("SecretKeySelector")) {
            Map<String, Object> parts = new TreeMap<>();
            parts.put("name", Map.of("type", "string"));
            parts.put("key", Map.of("type", "string"));
            parts.put("optional", Map.of("type", "boolean"));
            return Map.of("type", "object", "properties", parts);
        }
        throw new IllegalArgumentException("no schema is known for " + plain);
    }
}
