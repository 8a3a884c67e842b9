import com.alibaba.opensandbox.sandbox.Sandbox;
import com.alibaba.opensandbox.sandbox.SandboxManager;
import com.alibaba.opensandbox.sandbox.domain.models.execd.executions.RunCommandRequest;
import com.alibaba.opensandbox.sandbox.domain.models.sandboxes.PagedSandboxInfos;
import com.alibaba.opensandbox.sandbox.domain.models.sandboxes.SandboxFilter;
import com.alibaba.opensandbox.sandbox.domain.models.sandboxes.SandboxInfo;
import com.alibaba.opensandbox.sandbox.domain.models.sandboxes.SandboxMetrics;
import java.time.Duration;
import java.time.OffsetDateTime;
import java.util.Map;
import java.util.UUID;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;

/** The life of a sandbox: what the server answers. */
final class Life {
    static void features() {
        Conformance.feature("life.info", Life::info);
        Conformance.feature("life.metrics", Life::metrics);
        Conformance.feature("life.endpoint", Life::endpoint);
        Conformance.feature("life.renew", Life::renew);
        Conformance.feature("life.connect", Life::connect);
        Conformance.feature("life.list", Life::list);
        Conformance.feature("life.pause", Life::pause);
        Conformance.feature("life.kill", Life::kill);
        Conformance.feature("life.refused", Life::refused);
    }

    private static void info(Map<String, Object> seen) {
        SandboxInfo info = Conformance.sandbox.getInfo();
        seen.put("same id", info.getId().equals(Conformance.sandbox.getId()));
        seen.put("state", info.getStatus().getState());
        seen.put("metadata", info.getMetadata());
        seen.put("entrypoint", info.getEntrypoint());
        seen.put("image", info.getImage().getImage());
        seen.put("seconds", Duration.between(info.getCreatedAt(), info.getExpiresAt()).toSeconds());
        seen.put("healthy", Conformance.sandbox.isHealthy());
    }

    private static void metrics(Map<String, Object> seen) {
        SandboxMetrics metrics = Conformance.sandbox.getMetrics();
        seen.put("cpu", metrics.getCpuCount());
        seen.put("cpu used", metrics.getCpuUsedPercentage());
        seen.put("memory", metrics.getMemoryTotalInMiB());
        seen.put("memory used", metrics.getMemoryUsedInMiB());
        seen.put("age ms", Math.abs(System.currentTimeMillis() - metrics.getTimestamp()));
    }

    /** A web server in the sandbox, asked by a client of this machine. */
    private static void endpoint(Map<String, Object> seen) throws Exception {
        Conformance.sandbox.commands().run(RunCommandRequest.builder().background(true).command(
                "mkdir -p /tmp/java-web && cd /tmp/java-web && echo from inside >page && exec python3 -m http.server 8099")
                .build());
        Conformance.sandbox.commands().run(
                "for i in $(seq 100); do (: </dev/tcp/127.0.0.1/8099) 2>/dev/null && exit; sleep 0.05; done");
        OkHttpClient client = Conformance.sandbox.httpClientProvider().getHttpClient();
        Request request = new Request.Builder()
                .url("http://" + Conformance.sandbox.getEndpoint(8099).getEndpoint() + "/page").build();
        try (Response response = client.newCall(request).execute()) {
            seen.put("status", response.code());
            seen.put("body", response.body().string());
        }
    }

    private static void renew(Map<String, Object> seen) {
        OffsetDateTime before = Conformance.sandbox.getInfo().getExpiresAt();
        Conformance.sandbox.renew(Duration.ofMinutes(30));
        seen.put("later s", Duration.between(before, Conformance.sandbox.getInfo().getExpiresAt()).toSeconds());
    }

    private static void connect(Map<String, Object> seen) {
        try (Sandbox again = Sandbox.connector().sandboxId(Conformance.sandbox.getId())
                .connectionConfig(Conformance.config()).connect()) {
            seen.put("stdout", Conformance.texts(again.commands().run("echo $GREETING").getLogs().getStdout()));
        }
    }

    private static void list(Map<String, Object> seen) {
        try (SandboxManager manager = SandboxManager.builder().connectionConfig(Conformance.config()).build()) {
            PagedSandboxInfos found = manager.listSandboxInfos(SandboxFilter.builder().states("Running")
                    .metadata(Map.of("team", "java")).page(1).pageSize(5).build());
            seen.put("found", found.getSandboxInfos().stream()
                    .map(info -> info.getId().equals(Conformance.sandbox.getId())).toList());
            seen.put("page", found.getPagination().getPage());
            seen.put("total", found.getPagination().getTotalItems());
            seen.put("next", found.getPagination().getHasNextPage());
            seen.put("paused", manager.listSandboxInfos(SandboxFilter.builder().states("Paused")
                    .metadata(Map.of("team", "java")).build()).getSandboxInfos().size());
        }
    }

    private static String state(Sandbox sandbox) {
        return sandbox.getInfo().getStatus().getState();
    }

    private static void pause(Map<String, Object> seen) throws Exception {
        Conformance.sandbox.pause();
        seen.put("paused", await(Conformance.sandbox, "Paused"));
        Conformance.sandbox.resume();
        seen.put("resumed", await(Conformance.sandbox, "Running"));
        Conformance.sandbox.checkReady(Duration.ofSeconds(10), Duration.ofMillis(50));
        seen.put("stdout", Conformance.texts(Conformance.sandbox.commands().run("echo awake").getLogs().getStdout()));
    }

    /** The state it came to: the wished one, or the last that was seen in five seconds. */
    private static String await(Sandbox sandbox, String wished) throws InterruptedException {
        for (int i = 0; i < 100 && !state(sandbox).equals(wished); i++)
            Thread.sleep(50);
        return state(sandbox);
    }

    private static void kill(Map<String, Object> seen) throws Exception {
        try (Sandbox other = Conformance.builder().build();
                SandboxManager manager = SandboxManager.builder().connectionConfig(Conformance.config()).build()) {
            seen.put("state", state(other));
            manager.killSandbox(other.getId());
            Map<String, Object> refusal = Map.of();
            for (int i = 0; i < 100 && !Integer.valueOf(404).equals(refusal.get("status")); i++) {
                refusal = Conformance.refusal(other::getInfo);
                Thread.sleep(50);
            }
            seen.put("gone", refusal);
        }
    }

    private static void refused(Map<String, Object> seen) throws Exception {
        seen.put("image", Conformance.refusal(() -> Conformance.builder().image("no/such:image").build()));
        try (SandboxManager manager = SandboxManager.builder().connectionConfig(Conformance.config()).build()) {
            seen.put("id", Conformance.refusal(() -> manager.getSandboxInfo(new UUID(0x1234567812344321L, 1L << 63))));
        }
        try (SandboxManager stranger = SandboxManager.builder().connectionConfig(Conformance.config("wrong-key")).build()) {
            seen.put("key", Conformance.refusal(() -> stranger.getSandboxInfo(Conformance.sandbox.getId())));
        }
    }

    private Life() {}
}
