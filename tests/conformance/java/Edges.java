import com.alibaba.opensandbox.sandbox.Sandbox;
import com.alibaba.opensandbox.sandbox.SandboxManager;
import com.alibaba.opensandbox.sandbox.domain.exceptions.SandboxException;
import com.alibaba.opensandbox.sandbox.domain.models.execd.executions.Execution;
import com.alibaba.opensandbox.sandbox.domain.models.execd.filesystem.MoveEntry;
import com.alibaba.opensandbox.sandbox.domain.models.execd.filesystem.SearchEntry;
import com.alibaba.opensandbox.sandbox.domain.models.execd.filesystem.WriteEntry;
import com.alibaba.opensandbox.sandbox.domain.models.sandboxes.SandboxFilter;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** What is allowed but rare: odd names, long lines, bytes that are no text, many at a time, sandboxes that fail. */
final class Edges {
    static void features() {
        Conformance.feature("edges.names", Edges::names);
        Conformance.feature("edges.owner", Edges::owner);
        Conformance.feature("edges.long line", Edges::longLine);
        Conformance.feature("edges.no text", Edges::noText);
        Conformance.feature("edges.ends of lines", Edges::endsOfLines);
        Conformance.feature("edges.many at a time", Edges::manyAtATime);
        Conformance.feature("edges.metadata", Edges::metadata);
        Conformance.feature("edges.pages", Edges::pages);
        Conformance.feature("edges.entrypoint ends", Edges::entrypointEnds);
        Conformance.feature("edges.refused", Edges::refused);
    }

    private static Execution shell(String text) {
        return Conformance.sandbox.commands().run(text);
    }

    private static void names(Map<String, Object> seen) {
        List<String> names = List.of("with blank", "\u00e4\u20ac\ud83d\ude00", "a+b&c=d%20e", "#hash?", "quote\"and'", "semi;colon", "-dash");
        String folder = "/workspace/java names/";
        for (String name : names)
            Conformance.sandbox.files().writeFile(folder + name, name);
        seen.put("read", names.stream().map(name -> Conformance.sandbox.files().readFile(folder + name)).toList());
        seen.put("found", Conformance.sandbox.files().search(SearchEntry.builder().path(folder).pattern("*").build())
                .stream().map(info -> info.getPath().substring(folder.length())).sorted().toList());
        seen.put("info", names.stream().map(name -> folder + name)
                .map(path -> Conformance.sandbox.files().readFileInfo(List.of(path)).get(path).getSize()).toList());
        Conformance.sandbox.files().moveFiles(List.of(
                MoveEntry.builder().src(folder + "#hash?").dest(folder + "?hash#").build()));
        Conformance.sandbox.files().deleteFiles(names.stream().filter(name -> !name.equals("#hash?"))
                .map(name -> folder + name).toList());
        seen.put("left", Conformance.texts(shell("ls -A '/workspace/java names'").getLogs().getStdout()));
        Conformance.sandbox.files().deleteDirectories(List.of(folder));
    }

    private static void owner(Map<String, Object> seen) {
        Conformance.sandbox.files().write(List.of(WriteEntry.builder().path("/workspace/java/theirs").data("x")
                .mode(750).owner("nobody").group("nogroup").build()));
        seen.put("stdout", Conformance.texts(shell("stat -c '%a %U %G' /workspace/java/theirs").getLogs().getStdout()));
    }

    private static void longLine(Map<String, Object> seen) {
        List<String> texts = Conformance.texts(
                shell("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end").getLogs().getStdout());
        seen.put("length", texts.stream().mapToInt(String::length).sum());
        seen.put("last", texts.get(texts.size() - 1));
    }

    private static void noText(Map<String, Object> seen) {
        seen.put("stdout", Conformance.texts(shell("printf 'a\\377b\\000c\\342\\202\\n'").getLogs().getStdout()));
    }

    private static void endsOfLines(Map<String, Object> seen) {
        seen.put("stdout", Conformance.texts(
                shell("printf 'crlf\\r\\ncr\\rmiddle\\u2028of\\u0085a line\\n\\n\\nend\\n'").getLogs().getStdout()));
    }

    private static void manyAtATime(Map<String, Object> seen) {
        List<CompletableFuture<String>> runs = IntStream.range(0, 16).mapToObj(i -> CompletableFuture.supplyAsync(
                () -> String.join(",", Conformance.texts(shell("seq -s , 1000; echo run " + i).getLogs().getStdout()))))
                .collect(Collectors.toList());
        String numbers = IntStream.rangeClosed(1, 1000).mapToObj(Integer::toString).collect(Collectors.joining(","));
        seen.put("right", IntStream.range(0, 16)
                .filter(i -> runs.get(i).join().equals(numbers + ",run " + i)).count());
    }

    private static void metadata(Map<String, Object> seen) {
        Map<String, String> wanted = Map.of("a.b/c-d", "x_1.y-2", "plain", "v");
        try (Sandbox other = Conformance.builder().metadata(wanted).env("ODD", "a=b c\"d'e\u20ac\nf").build();
                SandboxManager manager = SandboxManager.builder().connectionConfig(Conformance.config()).build()) {
            seen.put("metadata", other.getInfo().getMetadata());
            seen.put("found", manager.listSandboxInfos(SandboxFilter.builder().metadata(wanted).build())
                    .getSandboxInfos().stream().map(info -> info.getId().equals(other.getId())).toList());
            seen.put("env", Conformance.texts(other.commands().run("printf %s \"$ODD\"").getLogs().getStdout()));
            other.kill();
        }
    }

    private static void pages(Map<String, Object> seen) {
        try (SandboxManager manager = SandboxManager.builder().connectionConfig(Conformance.config()).build();
                Sandbox first = Conformance.builder().metadata("page", "yes").build();
                Sandbox second = Conformance.builder().metadata("page", "yes").build()) {
            for (int page = 1; page <= 3; page++) {
                var found = manager.listSandboxInfos(SandboxFilter.builder().states("Running", "Paused")
                        .metadata(Map.of("page", "yes")).page(page).pageSize(1).build());
                seen.put("page " + page, List.of(found.getSandboxInfos().size(), found.getPagination().getTotalItems(),
                        found.getPagination().getTotalPages(), found.getPagination().getHasNextPage()));
            }
            first.kill();
            second.kill();
        }
    }

    /** The sandbox is there, and says that it has ended and why. */
    private static void entrypointEnds(Map<String, Object> seen) throws Exception {
        try (Sandbox other = Conformance.builder().entrypoint("sh", "-c", "sleep 0.5; exit 3").healthCheck(any -> true).build()) {
            String state = "Running";
            for (int i = 0; i < 200 && state.equals("Running"); i++) {
                Thread.sleep(50);
                state = other.getInfo().getStatus().getState();
            }
            seen.put("state", state);
            seen.put("message", other.getInfo().getStatus().getMessage());
            other.kill();
        }
    }

    private static void refused(Map<String, Object> seen) throws Exception {
        seen.put("timeout", Conformance.refusal(() -> Conformance.builder().timeout(Duration.ofSeconds(1)).build()));
        seen.put("resource", Conformance.refusal(() -> Conformance.builder().resource(Map.of("memory", "lots")).build()));
        try (SandboxManager manager = SandboxManager.builder().connectionConfig(Conformance.config()).build()) {
            seen.put("renewal", Conformance.refusal(() -> {
                manager.renewSandbox(Conformance.sandbox.getId(), Duration.ofMinutes(-5));
                return null;
            }));
        }
        try (Sandbox never = Conformance.builder().healthCheck(any -> false).readyTimeout(Duration.ofMillis(300))
                .metadata("never", "ready").build()) {
            seen.put("never ready", never.getId());
        } catch (SandboxException expected) {
            seen.put("never ready", expected.getError().getCode());
        }
        try (SandboxManager manager = SandboxManager.builder().connectionConfig(Conformance.config()).build()) {
            seen.put("left of it", manager.listSandboxInfos(SandboxFilter.builder().metadata(Map.of("never", "ready")).build())
                    .getSandboxInfos().size());
        }
    }

    private Edges() {}
}
