/*
 * The file worker: execd, started anew with the identity of a request, serving the file routes on one connection
 * (execd/worker/worker.h says who starts it and with what).
 *
 * It ends when the connection is gone and nothing is left half done. Does not return to execd's own main.
 */
#pragma once

int file_worker_main(int argc, char **argv);
