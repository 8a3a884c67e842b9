/*
 * One step of a run: a command, what it writes, and how it ended. Private to execd/runcode. Thread rule: loop thread only.
 */
#pragma once

#include "execd/runcode/runcode.h"
#include "proto/base/ids.h"

struct step_run {
    struct channel_reader reader;
    struct runcode_step *step; /* borrowed; where the result goes */
    struct command_manager *commands;
    char id[ID_HEX_LEN + 1];   /* of the command; "" = none was started */
    uint64_t seen[2];          /* bytes of each stream so far */
    void (*on_end)(void *arg); /* from the reader's callback, once: detach later */
    void *arg;
};

/* Starts the command; the result is in *step when on_end runs. */
int step_start(struct step_run *s, const struct command_request *request,
               struct err *err) must_check;
void step_interrupt(struct step_run *s);
void step_done(struct step_run *s); /* legal at any time; the command goes on */
