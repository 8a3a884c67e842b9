import com.alibaba.opensandbox.sandbox.domain.models.execd.filesystem.ContentReplaceEntry;
import com.alibaba.opensandbox.sandbox.domain.models.execd.filesystem.EntryInfo;
import com.alibaba.opensandbox.sandbox.domain.models.execd.filesystem.MoveEntry;
import com.alibaba.opensandbox.sandbox.domain.models.execd.filesystem.SearchEntry;
import com.alibaba.opensandbox.sandbox.domain.models.execd.filesystem.SetPermissionEntry;
import com.alibaba.opensandbox.sandbox.domain.models.execd.filesystem.WriteEntry;
import com.alibaba.opensandbox.sandbox.domain.services.Filesystem;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.time.Duration;
import java.time.OffsetDateTime;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** Every file method of the SDK. */
final class Files {
    private static final String FOLDER = "/workspace/java";
    private static final Filesystem files = Conformance.sandbox.files();

    static void features() {
        Conformance.feature("files.write and read", Files::writeAndRead);
        Conformance.feature("files.streams", Files::streams);
        Conformance.feature("files.info", Files::info);
        Conformance.feature("files.folders", Files::folders);
        Conformance.feature("files.search", Files::search);
        Conformance.feature("files.move and delete", Files::moveAndDelete);
        Conformance.feature("files.permissions", Files::permissions);
        Conformance.feature("files.replace", Files::replace);
        Conformance.feature("files.refused", Files::refused);
    }

    private static WriteEntry.Builder entry(String name) {
        return WriteEntry.builder().path(FOLDER + "/" + name);
    }

    private static EntryInfo infoOf(String path) {
        return files.readFileInfo(List.of(path)).get(path);
    }

    private static List<String> found(String folder, String pattern) {
        return files.search(SearchEntry.builder().path(folder).pattern(pattern).build()).stream()
                .map(EntryInfo::getPath).sorted().collect(Collectors.toList());
    }

    private static void writeAndRead(Map<String, Object> seen) {
        byte[] data = new byte[300000];
        for (int i = 0; i < data.length; i++)
            data[i] = (byte) (i * 7 + (i >> 8));
        files.write(List.of(entry("text.txt").data("h\u00e9llo \u20ac\nworld\n").mode(640).build(),
                entry("data.bin").data(data).build()));
        files.writeFile(FOLDER + "/empty", "");
        seen.put("text", files.readFile(FOLDER + "/text.txt"));
        seen.put("bytes are the same", Arrays.equals(files.readByteArray(FOLDER + "/data.bin"), data));
        seen.put("range is right",
                Arrays.equals(files.readByteArray(FOLDER + "/data.bin", "bytes=10-19"), Arrays.copyOfRange(data, 10, 20)));
        seen.put("empty", files.readFile(FOLDER + "/empty"));
        files.write(List.of(entry("text.txt").data("shorter").build()));
        seen.put("replaced", files.readFile(FOLDER + "/text.txt"));
    }

    private static void streams(Map<String, Object> seen) throws Exception {
        byte[] data = new byte[3 << 20];
        Arrays.fill(data, (byte) 'x');
        files.write(List.of(entry("stream.bin").data(new ByteArrayInputStream(data)).build()));
        try (InputStream stream = files.readStream(FOLDER + "/stream.bin", null)) {
            seen.put("bytes are the same", Arrays.equals(stream.readAllBytes(), data));
        }
    }

    private static void info(Map<String, Object> seen) {
        files.write(List.of(entry("info.txt").data("13 bytes long").mode(600).build()));
        EntryInfo info = infoOf(FOLDER + "/info.txt");
        seen.put("path", info.getPath());
        seen.put("size", info.getSize());
        seen.put("mode", info.getMode());
        seen.put("owner", info.getOwner());
        seen.put("group", info.getGroup());
        seen.put("age s", Math.abs(Duration.between(info.getModifiedAt(), OffsetDateTime.now()).toSeconds()));
        seen.put("has birth", info.getCreatedAt() != null);
    }

    private static void folders(Map<String, Object> seen) throws Exception {
        String path = FOLDER + "/some/deep/folder";
        files.createDirectories(List.of(WriteEntry.builder().path(path).mode(750).build()));
        seen.put("mode", infoOf(path).getMode());
        files.write(List.of(entry("some/deep/file").data("x").build()));
        files.deleteDirectories(List.of(FOLDER + "/some"));
        seen.put("gone", Conformance.refusal(() -> infoOf(path)));
    }

    private static void search(Map<String, Object> seen) {
        files.write(List.of(entry("found/a.txt").data("a").build(), entry("found/deep/b.txt").data("b").build(),
                entry("found/c.md").data("c").build()));
        seen.put("texts", found(FOLDER + "/found", "*.txt"));
        seen.put("none", found(FOLDER + "/found", "*.java"));
    }

    private static void moveAndDelete(Map<String, Object> seen) throws Exception {
        files.write(List.of(entry("from").data("moved").build()));
        files.moveFiles(List.of(MoveEntry.builder().src(FOLDER + "/from").dest(FOLDER + "/to").build()));
        seen.put("moved", files.readFile(FOLDER + "/to"));
        seen.put("source", Conformance.refusal(() -> files.readFile(FOLDER + "/from")));
        files.deleteFiles(List.of(FOLDER + "/to"));
        seen.put("deleted", Conformance.refusal(() -> files.readFile(FOLDER + "/to")));
    }

    private static void permissions(Map<String, Object> seen) {
        String path = FOLDER + "/owned";
        files.write(List.of(entry("owned").data("x").build()));
        files.setPermissions(List.of(
                SetPermissionEntry.builder().path(path).mode(600).owner("nobody").group("root").build()));
        seen.put("mode", infoOf(path).getMode());
        seen.put("owner", infoOf(path).getOwner());
        seen.put("group", infoOf(path).getGroup());
    }

    private static void replace(Map<String, Object> seen) {
        files.write(List.of(entry("words").data("one two one").build()));
        files.replaceContents(List.of(ContentReplaceEntry.builder().path(FOLDER + "/words")
                .oldContent("one").newContent("three").build()));
        seen.put("text", files.readFile(FOLDER + "/words"));
    }

    private static void refused(Map<String, Object> seen) throws Exception {
        seen.put("read", Conformance.refusal(() -> files.readFile(FOLDER + "/none")));
        seen.put("range", Conformance.refusal(() -> files.readByteArray(FOLDER + "/text.txt", "bytes=5000-")));
        seen.put("search", Conformance.refusal(() -> found(FOLDER + "/none", "*")));
    }

    private Files() {}
}
