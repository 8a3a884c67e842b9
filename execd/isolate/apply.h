/*
 * Brings one entry of a layer into the lower directory. Blocking: for the worker pool. Thread rule: any thread.
 */
#pragma once

#include "execd/isolate/layer.h"

/* 1 = done, 0 = there was nothing to do, or it is skipped (*ret_skipped). -errno with the path in err. */
int apply_entry(const struct layer_entry *e, bool *ret_skipped, struct err *err) must_check;
