/*
 * Sub-commands of execd-server that do their work and exit: init-config, image ls|build|rm.
 * Each returns the process's exit code and prints its own errors. Thread rule: main thread.
 */
#pragma once

struct config;

int cli_init_config(int argc, char *const *argv);
int cli_image(struct config *config, int argc, char *const *argv);
