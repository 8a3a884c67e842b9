import com.alibaba.opensandbox.sandbox.Sandbox;
import com.alibaba.opensandbox.sandbox.config.ConnectionConfig;
import com.alibaba.opensandbox.sandbox.domain.exceptions.SandboxApiException;
import com.alibaba.opensandbox.sandbox.domain.models.execd.executions.OutputMessage;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import kotlinx.serialization.json.JsonArray;
import kotlinx.serialization.json.JsonElement;
import kotlinx.serialization.json.JsonElementKt;
import kotlinx.serialization.json.JsonNull;
import kotlinx.serialization.json.JsonObject;

/**
 * Uses the published Java SDK as its users would, and prints what it saw: one line of JSON per feature,
 * {"feature": name, "seen": {...}} or {"feature": name, "failed": why}. What must have been seen is said by
 * test_java.py, which runs this with DOMAIN, API_KEY and IMAGE in the environment.
 */
public final class Conformance {
    interface Body {
        void run(Map<String, Object> seen) throws Exception;
    }

    /** The sandbox of all features that leave it as they find it. */
    static Sandbox sandbox;

    public static void main(String[] arguments) {
        sandbox = builder().metadata("team", "java").env("GREETING", "hello").build();
        try {
            Life.features();
            Commands.features();
            Files.features();
            Edges.features();
            Code.features();
        } finally {
            sandbox.kill();
            sandbox.close();
        }
    }

    static void feature(String name, Body body) {
        Map<String, Object> seen = new LinkedHashMap<>();
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("feature", name);
        try {
            body.run(seen);
            line.put("seen", seen);
        } catch (Throwable failure) {
            failure.printStackTrace();
            line.put("failed", failure.toString());
        }
        System.out.println(json(line));
        System.out.flush();
    }

    /**
     * This release of the SDK does not know the headers that come with an endpoint, and sends the server's key to the
     * server alone. So the key is one of the headers that it adds everywhere: the server's proxy takes it.
     */
    static ConnectionConfig config(String key) {
        return ConnectionConfig.builder().domain(System.getenv("DOMAIN")).apiKey(key)
                .addHeader("OPEN-SANDBOX-API-KEY", key).requestTimeout(Duration.ofSeconds(20)).build();
    }

    static ConnectionConfig config() {
        return config(System.getenv("API_KEY"));
    }

    static Sandbox.Builder builder() {
        return Sandbox.builder().connectionConfig(config()).image(System.getenv("IMAGE"))
                .resource(Map.of("cpu", "1", "memory", "512Mi")).timeout(Duration.ofMinutes(10));
    }

    static List<String> texts(List<OutputMessage> messages) {
        return messages.stream().map(OutputMessage::getText).collect(Collectors.toList());
    }

    /** What the SDK makes of a refusal. */
    static Map<String, Object> refusal(Callable<?> call) throws Exception {
        try {
            call.call();
        } catch (SandboxApiException refused) {
            return Map.of("status", refused.getStatusCode(), "code", refused.getError().getCode());
        }
        return Map.of("status", 0, "code", "it was not refused");
    }

    static JsonElement json(Object value) {
        if (value == null)
            return JsonNull.INSTANCE;
        if (value instanceof Boolean)
            return JsonElementKt.JsonPrimitive((Boolean) value);
        if (value instanceof Number)
            return JsonElementKt.JsonPrimitive((Number) value);
        if (value instanceof List)
            return new JsonArray(((List<?>) value).stream().map(Conformance::json).collect(Collectors.toList()));
        if (value instanceof Map) {
            Map<String, JsonElement> members = new LinkedHashMap<>();
            ((Map<?, ?>) value).forEach((name, member) -> members.put(name.toString(), json(member)));
            return new JsonObject(members);
        }
        return JsonElementKt.JsonPrimitive(value.toString());
    }

    private Conformance() {}
}
