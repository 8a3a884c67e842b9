import com.alibaba.opensandbox.sandbox.HttpClientProvider;
import com.alibaba.opensandbox.sandbox.api.models.execd.CodeContext;
import com.alibaba.opensandbox.sandbox.config.ConnectionConfig;
import com.alibaba.opensandbox.sandbox.domain.models.execd.executions.Execution;
import com.alibaba.opensandbox.sandbox.domain.models.execd.executions.ExecutionHandlers;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/**
 * Every language of the image code-interpreter: a feature for each, as Conformance prints them. BASE is where an execd
 * inside that image answers, TOKEN is its token.
 */
public final class Languages {
    private static final CodeClient client = new CodeClient(System.getenv("BASE"),
            new HttpClientProvider(ConnectionConfig.builder().addHeader("X-EXECD-ACCESS-TOKEN", System.getenv("TOKEN"))
                    .requestTimeout(Duration.ofSeconds(60)).build()));

    /** A result, a print of "hi", an error, and a loop without end, in the order of `language`'s arguments. */
    private record Sample(String name, String result, String print, String error, String loop) {}

    private static final Sample[] samples = {
        new Sample("python", "1 + 1", "print('hi')", "raise ValueError('bad')", "while True: pass"),
        new Sample("java", "1 + 1", "System.out.println(\"hi\")", "throw new IllegalStateException(\"bad\");", "while (true) {}"),
        new Sample("typescript", "1 + 1", "console.log('hi')", "throw new TypeError('bad')", "while (true) {}"),
        new Sample("javascript", "1 + 1", "console.log('hi')", "throw new RangeError('bad')", "while (true) {}"),
        new Sample("go", "1 + 1", "import \"fmt\"\nfmt.Println(\"hi\")", "panic(\"bad\")", "for {}"),
    };

    public static void main(String[] arguments) {
        // The kernels take their time to start: all at once, and each is waited for in its turn.
        Map<String, CompletableFuture<CodeContext>> contexts = new java.util.HashMap<>();
        for (Sample sample : samples)
            contexts.put(sample.name, CompletableFuture.supplyAsync(() -> started(sample)));
        Stream.of(samples).forEach(sample ->
                Conformance.feature(sample.name, seen -> language(sample, contexts.get(sample.name).get(60, TimeUnit.SECONDS), seen)));
        // The client's threads would keep the program for a minute.
        System.exit(0);
    }

    private static CodeContext started(Sample sample) {
        try {
            CodeContext context = client.context(sample.name);
            client.run(context, sample.result);
            return context;
        } catch (java.io.IOException failure) {
            throw new IllegalStateException(failure);
        }
    }

    private static void language(Sample sample, CodeContext context, Map<String, Object> seen) throws Exception {
        seen.put("language", context.getLanguage());
        seen.put("results", CodeClient.results(client.run(context, sample.result)));
        seen.put("stdout", String.join("", Conformance.texts(client.run(context, sample.print).getLogs().getStdout())));
        Execution failed = client.run(context, sample.error);
        seen.put("name", failed.getError().getName());
        seen.put("value", failed.getError().getValue());
        CompletableFuture<String> started = new CompletableFuture<>();
        ExecutionHandlers handlers = ExecutionHandlers.builder().onInit(init -> started.complete(init.getId())).build();
        CompletableFuture<Execution> running = CompletableFuture.supplyAsync(() -> client.run(context, sample.loop, handlers));
        client.api.interruptCode(started.get(20, TimeUnit.SECONDS));
        seen.put("interrupted", running.get(40, TimeUnit.SECONDS).getError() != null);
        seen.put("after", CodeClient.results(client.run(context, sample.result)));
    }

    private Languages() {}
}
