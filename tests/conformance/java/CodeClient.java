import com.alibaba.opensandbox.sandbox.HttpClientProvider;
import com.alibaba.opensandbox.sandbox.api.execd.CodeInterpretingApi;
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
import java.util.List;
import java.util.stream.Collectors;
import okhttp3.MediaType;
import okhttp3.Request;
import okhttp3.RequestBody;
import okhttp3.Response;

/**
 * Code by the SDK's own parts: its generated API for contexts and interrupts, its models, its stream client and its
 * event dispatcher. What joins these for a run, the loop of run(), is the code interpreter's package in later releases.
 */
final class CodeClient {
    final CodeInterpretingApi api;
    private final String base;
    private final HttpClientProvider provider;

    CodeClient(String base, HttpClientProvider provider) {
        this.base = base;
        this.provider = provider;
        this.api = new CodeInterpretingApi(base, provider.getHttpClient());
    }

    CodeContext context(String language) throws IOException {
        return api.createCodeContext(new CodeContextRequest(language));
    }

    Execution run(CodeContext context, String code, ExecutionHandlers handlers) {
        String body = SerializerKt.getJsonParser()
                .encodeToString(RunCodeRequest.Companion.serializer(), new RunCodeRequest(code, context));
        Request request = new Request.Builder().url(base + "/code")
                .post(RequestBody.create(body, MediaType.get("application/json"))).build();
        Execution execution = new Execution();
        ExecutionEventDispatcher dispatcher = new ExecutionEventDispatcher(execution, handlers);
        try (Response response = provider.getSseClient().newCall(request).execute();
                BufferedReader reader = new BufferedReader(response.body().charStream())) {
            if (!response.isSuccessful())
                throw new IllegalStateException(response.code() + " " + response.body().string());
            // As the code interpreter's own loop does (contracts/execd.md 2.6): each line that is not blank is an event.
            for (String line; (line = reader.readLine()) != null;)
                if (!line.isBlank())
                    dispatcher.dispatch(SerializerKt.getJsonParser().decodeFromString(EventNode.Companion.serializer(), line));
        } catch (IOException broken) {
            throw new IllegalStateException(broken);
        }
        return execution;
    }

    Execution run(CodeContext context, String code) {
        return run(context, code, null);
    }

    static List<String> results(Execution execution) {
        return execution.getResult().stream().map(result -> result.getText()).collect(Collectors.toList());
    }
}
