/*
 * The port by which clients name execd itself in the paths of endpoints and proxies. Constant.
 */
#pragma once

#define EXECD_PORT 44772
