/* The conversion child: this process after it was executed again with CHILD_ARGUMENT. It alone reads hostile bytes. */
#ifndef RUSHES_TRANSCODER_CHILD_H
#define RUSHES_TRANSCODER_CHILD_H

/* Takes the setup from the control descriptor, enters the sandbox, converts, reports, and returns the exit status: 0
 * when a result (also a failed one) was reported. */
int child_main(void);

#endif
