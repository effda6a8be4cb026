libbugle_a_SOURCES += \
    include/cluster/cluster_conf.h \
    include/cluster/log_entry.h \
    include/cluster/log_follower.h \
    include/cluster/log_group.h \
    include/cluster/log_node.h \
    include/cluster/node_message.h \
    include/cluster/node_talk.h \
    include/cluster/redis_log.h \
    include/cluster/redis_start.h \
    include/cluster/redis_url.h \
    include/cluster/shared_log.h \
    include/cluster/shared_ticket.h \
    src/cluster/cluster_check.c \
    src/cluster/cluster_check.h \
    src/cluster/cluster_conf.c \
    src/cluster/log_entry.c \
    src/cluster/log_follower.c \
    src/cluster/log_group.c \
    src/cluster/log_node.c \
    src/cluster/node_message.c \
    src/cluster/node_talk.c \
    src/cluster/redis_fault.c \
    src/cluster/redis_fault.h \
    src/cluster/redis_find.c \
    src/cluster/redis_find.h \
    src/cluster/redis_link.c \
    src/cluster/redis_link.h \
    src/cluster/redis_log.c \
    src/cluster/redis_log_append.c \
    src/cluster/redis_log_ask.c \
    src/cluster/redis_log_internal.h \
    src/cluster/redis_log_tail.c \
    src/cluster/redis_log_ticket.c \
    src/cluster/redis_reader.c \
    src/cluster/redis_reader.h \
    src/cluster/redis_resolve.c \
    src/cluster/redis_resolve.h \
    src/cluster/redis_script.c \
    src/cluster/redis_script.h \
    src/cluster/redis_socket.c \
    src/cluster/redis_socket.h \
    src/cluster/redis_start.c \
    src/cluster/redis_trust.c \
    src/cluster/redis_trust.h \
    src/cluster/redis_url.c \
    src/cluster/shared_log.c

# The scripts that run inside the server, as texts.
CLUSTER_LUA = \
    src/cluster/append.lua \
    src/cluster/attach.lua \
    src/cluster/check.lua \
    src/cluster/head.lua \
    src/cluster/lease.lua \
    src/cluster/peek.lua \
    src/cluster/ticket.lua \
    src/cluster/tickets.lua \
    src/cluster/trim.lua

nodist_libbugle_a_SOURCES = src/cluster/redis_script_texts.c
CLEANFILES += src/cluster/redis_script_texts.c
src/cluster/redis_script_texts.c: $(CLUSTER_LUA) src/cluster/embed.awk
	$(AM_V_GEN)$(MKDIR_P) src/cluster && cd '$(srcdir)' && \
	    $(AWK) -f src/cluster/embed.awk $(CLUSTER_LUA) >'$(abs_builddir)/$@.tmp' && \
	    mv '$(abs_builddir)/$@.tmp' '$(abs_builddir)/$@'
