#include "execd/runcode/languages.h"

#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "execd/proc/spawn.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"

/* clang-format off: one language per row */
const struct language languages[] = {
    {"python", "main.py", {0}, {"python3", "main.py"}, false},
    {"python", "main.py", {0}, {"python", "main.py"}, false},
    {"bash", "main.sh", {0}, {"bash", "main.sh"}, false},
    {"sh", "main.sh", {0}, {"sh", "main.sh"}, false},
    {"nodejs", "main.js", {0}, {"node", "main.js"}, true},
    {"nodejs", "main.js", {0}, {"nodejs", "main.js"}, true},
    {"javascript", "main.js", {0}, {"node", "main.js"}, true},
    {"js", "main.js", {0}, {"node", "main.js"}, true},
    {"typescript", "main.ts", {0}, {"tsx", "main.ts"}, true},
    {"typescript", "main.ts", {0}, {"deno", "run", "--allow-all", "--no-prompt", "main.ts"}, true},
    {"typescript", "main.ts", {0}, {"bun", "run", "main.ts"}, true},
    {"ts", "main.ts", {0}, {"tsx", "main.ts"}, true},
    {"ts", "main.ts", {0}, {"deno", "run", "--allow-all", "--no-prompt", "main.ts"}, true},
    {"c", "main.c", {"cc", "main.c", "-o", "main", "-lm"}, {"./main"}, false},
    {"cpp", "main.cpp", {"g++", "-std=c++17", "main.cpp", "-o", "main"}, {"./main"}, false},
    {"cpp", "main.cpp", {"clang++", "-std=c++17", "main.cpp", "-o", "main"}, {"./main"}, false},
    {"go", "main.go", {"go", "build", "-o", "main", "main.go"}, {"./main"}, true},
    {"go_test", "main_test.go", {0}, {"go", "test", "main_test.go"}, true},
    {"java",
     "Main.java",
     {"javac", "-cp", ".", "Main.java"},
     {"java", "-ea", "-cp", ".", "Main"},
     true},
    {"rust", "main.rs", {"rustc", "main.rs", "-o", "main"}, {"./main"}, false},
    {"csharp", "main.cs", {"mcs", "-out:main.exe", "main.cs"}, {"mono", "main.exe"}, true},
    {"php", "main.php", {0}, {"php", "-f", "main.php"}, false},
    {"perl", "main.pl", {0}, {"perl", "main.pl"}, false},
    {"ruby", "main.rb", {0}, {"ruby", "main.rb"}, false},
    {"lua", "main.lua", {0}, {"lua", "main.lua"}, false},
    {"R", "main.R", {0}, {"Rscript", "main.R"}, false},
    {"julia", "main.jl", {0}, {"julia", "main.jl"}, true},
    {"scala", "main.scala", {0}, {"scala", "main.scala"}, true},
    {"kotlin_script", "main.kts", {0}, {"kotlin", "main.kts"}, true},
    {"swift", "main.swift", {"swiftc", "main.swift", "-o", "main"}, {"./main"}, false},
    {"racket", "main.rkt", {0}, {"racket", "main.rkt"}, false},
    {"verilog",
     "main.sv",
     {"iverilog", "-Wall", "-g2012", "-o", "main.vvp", "main.sv"},
     {"vvp", "-n", "main.vvp"},
     false},
    {"lean", "Main.lean", {0}, {"lean", "--run", "Main.lean"}, true},
    {"D_ut", "main.d", {"dmd", "main.d", "-unittest", "-of=main"}, {"./main"}, false},
    {"sql", "main.sql", {0}, {"sqlite3", "-bail", ":memory:", ".read main.sql"}, false},
    {"pytest", "test_main.py", {0}, {"python3", "-m", "pytest", "test_main.py"}, false},
};
/* clang-format on */
const size_t n_languages = ARRAY_LEN(languages);

static bool is_there(const char *program, const char *const *envp, struct arena *arena)
{
    const char *const *candidates;
    struct err err;

    if (program == NULL || str_starts(program, "./")) /* compiled before it is run */
        return true;
    if (spawn_resolve(program, envp, "/", arena, &candidates, &err) < 0)
        return false;
    for (; *candidates != NULL; candidates++) {
        if (access(*candidates, X_OK) == 0)
            return true;
    }
    return false;
}

const struct language *language_find(const char *name, const char *const *envp, struct arena *arena,
                                     const char **ret_missing)
{
    const char *missing = NULL;

    for (size_t i = 0; i < n_languages; i++) {
        const struct language *l = &languages[i];
        if (strcasecmp(l->name, name) != 0)
            continue;
        const char *lacks = !is_there(l->compile[0], envp, arena) ? l->compile[0]
                            : !is_there(l->run[0], envp, arena)   ? l->run[0]
                                                                  : NULL;
        if (lacks == NULL)
            return l;
        if (missing == NULL)
            missing = lacks;
    }
    *ret_missing = missing;
    return NULL;
}

const char *language_names(struct arena *arena)
{
    const char *names = "";

    for (size_t i = 0; i < n_languages && names != NULL; i++) {
        if (i > 0 && strcmp(languages[i].name, languages[i - 1].name) == 0)
            continue;
        names = arena_printf(arena, "%s%s%s", names, i > 0 ? ", " : "", languages[i].name);
    }
    return names;
}
