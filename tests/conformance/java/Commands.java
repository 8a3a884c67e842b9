import com.alibaba.opensandbox.sandbox.domain.models.execd.executions.Execution;
import com.alibaba.opensandbox.sandbox.domain.models.execd.executions.ExecutionHandlers;
import com.alibaba.opensandbox.sandbox.domain.models.execd.executions.RunCommandRequest;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Every command method of the SDK. */
final class Commands {
    static void features() {
        // Goes on beside the others: long enough for the stream's pings.
        CompletableFuture<Execution> silent = CompletableFuture.supplyAsync(() -> shell("sleep 4; echo end"));
        Conformance.feature("commands.run", Commands::run);
        Conformance.feature("commands.as it happens", Commands::asItHappens);
        Conformance.feature("commands.exit code", Commands::exitCode);
        Conformance.feature("commands.folder", Commands::folder);
        Conformance.feature("commands.text", Commands::text);
        Conformance.feature("commands.much output", Commands::muchOutput);
        Conformance.feature("commands.background", Commands::background);
        Conformance.feature("commands.interrupt", Commands::interrupt);
        Conformance.feature("commands.refused", Commands::refused);
        Conformance.feature("commands.silence", seen -> {
            Execution execution = silent.get(20, TimeUnit.SECONDS);
            seen.put("stdout", Conformance.texts(execution.getLogs().getStdout()));
            seen.put("error", execution.getError());
        });
    }

    private static RunCommandRequest.Builder command(String text) {
        return RunCommandRequest.builder().command(text);
    }

    private static Execution shell(String text) {
        return Conformance.sandbox.commands().run(text);
    }

    private static void run(Map<String, Object> seen) {
        List<String> kinds = Collections.synchronizedList(new ArrayList<>());
        ExecutionHandlers handlers = ExecutionHandlers.builder()
                .onInit(init -> kinds.add("init"))
                .onStdout(message -> kinds.add("stdout " + message.getText()))
                .onStderr(message -> kinds.add("stderr " + message.getText()))
                .onError(error -> kinds.add("error"))
                .onExecutionComplete(complete -> kinds.add("complete"))
                .build();
        Execution execution = Conformance.sandbox.commands()
                .run(command("echo $GREETING; sleep 0.2; echo bad >&2").handlers(handlers).build());
        seen.put("kinds", kinds);
        seen.put("id", execution.getId());
        seen.put("stdout", Conformance.texts(execution.getLogs().getStdout()));
        seen.put("stderr", Conformance.texts(execution.getLogs().getStderr()));
        seen.put("error", execution.getError());
    }

    /** The command goes on only when what it has written so far has been seen here. */
    private static void asItHappens(Map<String, Object> seen) {
        ExecutionHandlers handlers = ExecutionHandlers.builder().onStdout(message -> {
            if (message.getText().equals("waiting"))
                Conformance.sandbox.files().writeFile("/tmp/java-go", "go");
        }).build();
        Execution execution = Conformance.sandbox.commands().run(command(
                "echo waiting; for i in $(seq 200); do [ -e /tmp/java-go ] && echo went && exit; sleep 0.05; done; exit 1")
                .handlers(handlers).build());
        seen.put("stdout", Conformance.texts(execution.getLogs().getStdout()));
        seen.put("error", execution.getError());
    }

    private static void exitCode(Map<String, Object> seen) {
        Execution execution = shell("echo before; exit 42");
        seen.put("stdout", Conformance.texts(execution.getLogs().getStdout()));
        seen.put("name", execution.getError().getName());
        seen.put("value", execution.getError().getValue());
    }

    private static void folder(Map<String, Object> seen) {
        Execution execution = Conformance.sandbox.commands().run(command("pwd").workingDirectory("/usr/bin").build());
        seen.put("stdout", Conformance.texts(execution.getLogs().getStdout()));
    }

    private static void text(Map<String, Object> seen) {
        seen.put("stdout", Conformance.texts(shell("printf 'h\u00e9llo \u20ac \ud83d\ude00\\n\\n  two\\tthree\\r\\nno end'")
                .getLogs().getStdout()));
    }

    private static void muchOutput(Map<String, Object> seen) {
        List<String> lines = Conformance.texts(shell("seq 100000").getLogs().getStdout());
        seen.put("lines", lines.size());
        seen.put("sum", lines.stream().mapToLong(Long::parseLong).sum());
    }

    private static void background(Map<String, Object> seen) throws Exception {
        Execution execution = Conformance.sandbox.commands().run(
                command("until [ -e /tmp/java-on ]; do sleep 0.05; done; echo done > /tmp/java-done").background(true).build());
        seen.put("id", execution.getId());
        seen.put("early", shell("cat /tmp/java-done").getError() != null);
        Conformance.sandbox.files().writeFile("/tmp/java-on", "on");
        seen.put("late", Conformance.texts(
                shell("for i in $(seq 200); do grep done /tmp/java-done && exit; sleep 0.05; done").getLogs().getStdout()));
    }

    private static void interrupt(Map<String, Object> seen) throws Exception {
        CompletableFuture<String> started = new CompletableFuture<>();
        ExecutionHandlers handlers = ExecutionHandlers.builder().onInit(init -> started.complete(init.getId())).build();
        CompletableFuture<Execution> running = CompletableFuture.supplyAsync(
                () -> Conformance.sandbox.commands().run(command("sleep 600").handlers(handlers).build()));
        Conformance.sandbox.commands().interrupt(started.get(10, TimeUnit.SECONDS));
        Execution execution = running.get(20, TimeUnit.SECONDS);
        seen.put("name", execution.getError().getName());
        seen.put("left", Conformance.texts(shell("pgrep -c -x -f 'sleep 600' || true").getLogs().getStdout()));
    }

    private static void refused(Map<String, Object> seen) throws Exception {
        seen.put("folder", Conformance.refusal(() -> Conformance.sandbox.commands()
                .run(command("true").workingDirectory("/no/such/folder").build())));
        seen.put("id", Conformance.refusal(() -> {
            Conformance.sandbox.commands().interrupt("nothing");
            return null;
        }));
    }

    private Commands() {}
}
