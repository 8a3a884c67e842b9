import com.alibaba.opensandbox.sandbox.api.execd.infrastructure.ClientException;
import com.alibaba.opensandbox.sandbox.api.execd.infrastructure.ServerException;
import com.alibaba.opensandbox.sandbox.api.models.execd.CodeContext;
import com.alibaba.opensandbox.sandbox.domain.models.execd.executions.Execution;
import com.alibaba.opensandbox.sandbox.domain.models.execd.executions.ExecutionHandlers;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Code in a sandbox. */
final class Code {
    private static final CodeClient client = new CodeClient(
            "http://" + Conformance.sandbox.getEndpoint(44772).getEndpoint(), Conformance.sandbox.httpClientProvider());

    static void features() {
        Conformance.feature("code.run", Code::run);
        Conformance.feature("code.contexts", Code::contexts);
        Conformance.feature("code.error", Code::error);
        Conformance.feature("code.handlers", Code::handlers);
        Conformance.feature("code.interrupt", Code::interrupt);
        Conformance.feature("code.bash", Code::bash);
        Conformance.feature("code.refused", Code::refused);
    }

    private static void run(Map<String, Object> seen) throws IOException {
        CodeContext python = client.context("python");
        seen.put("language", python.getLanguage());
        seen.put("has id", python.getId() != null);
        Execution execution = client.run(python, "print('out'); 6 * 7");
        seen.put("stdout", Conformance.texts(execution.getLogs().getStdout()));
        seen.put("results", CodeClient.results(execution));
        seen.put("count", execution.getExecutionCount());
        seen.put("error", execution.getError());
        // Of a result with several types this release keeps the text.
        seen.put("rich", CodeClient.results(client.run(python, "from IPython.display import HTML, JSON, display\n"
                + "display(JSON({'a': [1]}))\nHTML('<b>x</b>')")));
    }

    private static void contexts(Map<String, Object> seen) throws IOException {
        CodeContext first = client.context("python");
        CodeContext second = client.context("python");
        client.run(first, "x = 'first'");
        client.run(second, "x = 'second'");
        seen.put("first", CodeClient.results(client.run(first, "x")));
        seen.put("second", CodeClient.results(client.run(second, "x")));
        seen.put("default", CodeClient.results(client.run(new CodeContext("python", null), "'x' in globals()")));
    }

    private static void error(Map<String, Object> seen) throws IOException {
        Execution execution = client.run(client.context("python"), "print('before')\n1 / 0");
        seen.put("stdout", Conformance.texts(execution.getLogs().getStdout()));
        seen.put("name", execution.getError().getName());
        seen.put("value", execution.getError().getValue());
        seen.put("traceback", String.join("\n", execution.getError().getTraceback()));
    }

    private static void handlers(Map<String, Object> seen) throws IOException {
        List<String> kinds = Collections.synchronizedList(new ArrayList<>());
        ExecutionHandlers handlers = ExecutionHandlers.builder()
                .onInit(init -> kinds.add("init"))
                .onStdout(message -> kinds.add("stdout " + message.getText()))
                .onStderr(message -> kinds.add("stderr " + message.getText()))
                .onResult(result -> kinds.add("result " + result.getText()))
                .onError(error -> kinds.add("error"))
                .onExecutionComplete(complete -> kinds.add("complete"))
                .build();
        client.run(client.context("python"), "import sys, time\nprint('a', flush=True)\ntime.sleep(0.2)\n"
                + "print('b', file=sys.stderr, flush=True)\ntime.sleep(0.2)\n1 + 1", handlers);
        seen.put("kinds", kinds);
    }

    private static void interrupt(Map<String, Object> seen) throws Exception {
        CodeContext python = client.context("python");
        CompletableFuture<String> started = new CompletableFuture<>();
        CompletableFuture<Void> runs = new CompletableFuture<>();
        ExecutionHandlers handlers = ExecutionHandlers.builder().onInit(init -> started.complete(init.getId()))
                .onStdout(message -> runs.complete(null)).build();
        CompletableFuture<Execution> running = CompletableFuture.supplyAsync(
                () -> client.run(python, "import time\nkept = 5\nprint('on', flush=True)\ntime.sleep(600)", handlers));
        runs.get(20, TimeUnit.SECONDS);
        client.api.interruptCode(started.get(10, TimeUnit.SECONDS));
        seen.put("name", running.get(20, TimeUnit.SECONDS).getError().getName());
        seen.put("after", CodeClient.results(client.run(python, "kept")));
    }

    private static void bash(Map<String, Object> seen) throws IOException {
        CodeContext bash = client.context("bash");
        client.run(bash, "X=kept");
        seen.put("stdout", Conformance.texts(client.run(bash, "echo $X").getLogs().getStdout()));
    }

    private interface Call {
        void run() throws IOException;
    }

    /** The generated API has exceptions of its own, with the answer's text in the message. */
    private static String refusal(Call call) throws IOException {
        try {
            call.run();
        } catch (ClientException refused) {
            return refused.getStatusCode() + " " + refused.getMessage();
        } catch (ServerException refused) {
            return refused.getStatusCode() + " " + refused.getMessage();
        }
        return "it was not refused";
    }

    private static void refused(Map<String, Object> seen) throws IOException {
        seen.put("language", refusal(() -> client.context("klingon")));
        seen.put("interrupt", refusal(() -> client.api.interruptCode("nothing")));
    }

    private Code() {}
}
