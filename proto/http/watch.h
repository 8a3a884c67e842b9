/*
 * Enabling bufferevents, without the silence.
 *
 * A socket that the kernel could not take into its watch (no memory) reports nothing any more, not even its end.
 * Thread rule: loop thread only.
 */
#pragma once

struct bufferevent;

/* As bufferevent_enable; where that fails the event callback comes with BEV_EVENT_ERROR, from the loop. */
void watch_enable(struct bufferevent *bev, short what);
