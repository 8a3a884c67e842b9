/*
 * The first process of an isolated session: execd, started anew as `execd isolate-init PROGRAM [ARGUMENT...]`.
 *
 * Process 1 of a pid namespace (spawn_plan.namespaces). It reads its plan from descriptor ISOLATE_CONTROL_FD, makes
 * the other namespaces and the mounts, answers there with one line of JSON, starts PROGRAM without the privileges
 * that this took, reaps whatever is orphaned, and ends as PROGRAM ends (128+n for signal n). When the other end of
 * the control socket closes it ends at once, and the kernel kills everything in the namespace.
 * Descriptors 0 to 7 go to PROGRAM as they are. PROGRAM NULL is allowed with plan.probe.
 * It is not dumpable and keeps its capabilities: nothing that it starts can trace it.
 */
#pragma once

/* Does not return to execd's own main. */
int isolate_init_main(int argc, char **argv);
