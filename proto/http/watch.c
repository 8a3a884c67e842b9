#include "proto/http/watch.h"

#include <event2/bufferevent.h>
#include <event2/event.h>

void watch_enable(struct bufferevent *bev, short what)
{
    if (bufferevent_enable(bev, what) < 0)
        bufferevent_trigger_event(bev, BEV_EVENT_ERROR | BEV_EVENT_READING,
                                  BEV_TRIG_DEFER_CALLBACKS);
}
