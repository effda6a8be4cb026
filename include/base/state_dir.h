/* SPDX-License-Identifier: MIT */
/*
 * The state directory: where the gateway keeps what is to outlive it when nobody says where.  The
 * environment decides, so the gateway and the tools that look for its files find the same place as
 * long as they run as the same user.
 */
#ifndef BUGLE_STATE_DIR_H
#define BUGLE_STATE_DIR_H

/*
 * The path, the first of these that is there:
 *
 *   the first folder of $STATE_DIRECTORY, which systemd sets to a list with colons
 *   $XDG_STATE_HOME/bugle
 *   $HOME/.local/state/bugle
 *   /var/lib/bugle
 *
 * A variable that is empty or not an absolute path counts as not set.  Looks at nothing but the
 * environment.  Gives memory for free(); NULL when there is none.
 */
char *state_dir_path(void);

/*
 * Make a folder if it is not there, and those above it that are missing, for their owner only and
 * synced: a file in it is then as safe as the file's own folder entry.  What is there stays as it
 * is.  Returns 0 or -errno; -ENOTDIR when something else has the name.  Blocks.
 */
int state_dir_make(const char *path);

#endif
