import com.alibaba.opensandbox.sandbox.api.execd.CodeInterpretingApi;
import com.alibaba.opensandbox.sandbox.api.execd.infrastructure.ClientException;
import com.alibaba.opensandbox.sandbox.api.execd.infrastructure.ServerException;
import com.alibaba.opensandbox.sandbox.api.models.execd.CodeContext;
import com.alibaba.opensandbox.sandbox.api.models.execd.CodeContextRequest;
import com.alibaba.opensandbox.sandbox.api.models.execd.EventNode;
import com.alibaba.opensandbox.sandbox.api.models.execd.RunCodeRequest;
import com.alibaba.opensandbox.sandbox.domain.models.execd.executions.Execution;
import com.alibaba.opensandbox.sandbox.domain.models.execd.executions.ExecutionHandlers;
import com.alibaba.opensandbox.sandbox.infrastructure.adapters.converter.ExecutionEventDispatcher;
import com.alibaba.opensandbox.sandbox.infrastructure.adapters.converter.SerializerKt;
import java.io.BufferedReader;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import okhttp3.MediaType;
import okhttp3.Request;
import okhttp3.RequestBody;
import okhttp3.Response;

/**
 * Code by the SDK's own parts: its generated API for contexts and interrupts, its models, its stream client and its
 * event dispatcher. What joins these for a run, the loop of run(), is the code interpreter's package in later releases.
 */
final class Code {
    private static final String base = "http://" + Conformance.sandbox.getEndpoint(44772).getEndpoint();
    private static final CodeInterpretingApi api =
            new CodeInterpretingApi(base, Conformance.sandbox.httpClientProvider().getHttpClient());

    static void features() {
        Conformance.feature("code.run", Code::run);
        Conformance.feature("code.contexts", Code::contexts);
        Conformance.feature("code.error", Code::error);
        Conformance.feature("code.handlers", Code::handlers);
        Conformance.feature("code.interrupt", Code::interrupt);
        Conformance.feature("code.bash", Code::bash);
        Conformance.feature("code.refused", Code::refused);
    }

    private static CodeContext context(String language) throws IOException {
        return api.createCodeContext(new CodeContextRequest(language));
    }

    private static Execution run(CodeContext context, String code, ExecutionHandlers handlers) {
        String body = SerializerKt.getJsonParser()
                .encodeToString(RunCodeRequest.Companion.serializer(), new RunCodeRequest(code, context));
        Request request = new Request.Builder().url(base + "/code")
                .post(RequestBody.create(body, MediaType.get("application/json"))).build();
        Execution execution = new Execution();
        ExecutionEventDispatcher dispatcher = new ExecutionEventDispatcher(execution, handlers);
        try (Response response = Conformance.sandbox.httpClientProvider().getSseClient().newCall(request).execute();
                BufferedReader reader = new BufferedReader(response.body().charStream())) {
            // As the code interpreter's own loop does (contracts/execd.md 2.6): each line that is not blank is an event.
            for (String line; (line = reader.readLine()) != null;)
                if (!line.isBlank())
                    dispatcher.dispatch(SerializerKt.getJsonParser().decodeFromString(EventNode.Companion.serializer(), line));
        } catch (IOException broken) {
            throw new IllegalStateException(broken);
        }
        return execution;
    }

    private static Execution run(CodeContext context, String code) {
        return run(context, code, null);
    }

    private static List<String> results(Execution execution) {
        return execution.getResult().stream().map(result -> result.getText()).collect(Collectors.toList());
    }

    private static void run(Map<String, Object> seen) throws IOException {
        CodeContext python = context("python");
        seen.put("language", python.getLanguage());
        seen.put("has id", python.getId() != null);
        Execution execution = run(python, "print('out'); 6 * 7");
        seen.put("stdout", Conformance.texts(execution.getLogs().getStdout()));
        seen.put("results", results(execution));
        seen.put("count", execution.getExecutionCount());
        seen.put("error", execution.getError());
        // Of a result with several types this release keeps the text.
        seen.put("rich", results(run(python, "from IPython.display import HTML, JSON, display\n"
                + "display(JSON({'a': [1]}))\nHTML('<b>x</b>')")));
    }

    private static void contexts(Map<String, Object> seen) throws IOException {
        CodeContext first = context("python");
        CodeContext second = context("python");
        run(first, "x = 'first'");
        run(second, "x = 'second'");
        seen.put("first", results(run(first, "x")));
        seen.put("second", results(run(second, "x")));
        seen.put("default", results(run(new CodeContext("python", null), "'x' in globals()")));
    }

    private static void error(Map<String, Object> seen) throws IOException {
        Execution execution = run(context("python"), "print('before')\n1 / 0");
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
        run(context("python"), "import sys, time\nprint('a', flush=True)\ntime.sleep(0.2)\n"
                + "print('b', file=sys.stderr, flush=True)\ntime.sleep(0.2)\n1 + 1", handlers);
        seen.put("kinds", kinds);
    }

    private static void interrupt(Map<String, Object> seen) throws Exception {
        CodeContext python = context("python");
        CompletableFuture<String> started = new CompletableFuture<>();
        CompletableFuture<Void> runs = new CompletableFuture<>();
        ExecutionHandlers handlers = ExecutionHandlers.builder().onInit(init -> started.complete(init.getId()))
                .onStdout(message -> runs.complete(null)).build();
        CompletableFuture<Execution> running = CompletableFuture.supplyAsync(
                () -> run(python, "import time\nkept = 5\nprint('on', flush=True)\ntime.sleep(600)", handlers));
        runs.get(20, TimeUnit.SECONDS);
        api.interruptCode(started.get(10, TimeUnit.SECONDS));
        seen.put("name", running.get(20, TimeUnit.SECONDS).getError().getName());
        seen.put("after", results(run(python, "kept")));
    }

    private static void bash(Map<String, Object> seen) throws IOException {
        CodeContext bash = context("bash");
        run(bash, "X=kept");
        seen.put("stdout", Conformance.texts(run(bash, "echo $X").getLogs().getStdout()));
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
        seen.put("language", refusal(() -> context("klingon")));
        seen.put("interrupt", refusal(() -> api.interruptCode("nothing")));
    }

    private Code() {}
}
