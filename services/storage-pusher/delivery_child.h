/* The delivery child: the one process that opens the vault's and the spool's keys, a target's credential and a file's
 * plaintext. It serves one account's deliveries to one target, in the sandbox, and ends with its batch: when the
 * service closes the channel.
 *
 * Messages to it:   {"op":"open", "settings":{...}, "target":{...}}                     once, first
 *                   {"op":"push", "context":{...}, "names":{...}, "content_type":"..."}
 *                   {"op":"delete", "context":{...}}
 *                   {"op":"go"}                     the upload is recorded
 *                   {"op":"stop"}                   what runs is no longer wanted
 * Answers:          {"op":"opened"} · {"op":"progress","bytes":n} · {"op":"upload","id":"..."} ·
 *                   {"op":"delivered","evidence":{...},"encryption":n} · {"op":"removed","evidence":{...}} ·
 *                   {"op":"failed","class":n,"text":"...","clean":true} */
#ifndef RUSHES_PUSHER_DELIVERY_CHILD_H
#define RUSHES_PUSHER_DELIVERY_CHILD_H

/* The argument that makes the service's binary a delivery child, and the descriptor of its channel. */
#define DELIVERY_CHILD_ARGUMENT "delivery-child"
#define DELIVERY_CHILD_FD	3

/* Runs to the end of the batch and never returns. */
void delivery_child_main(void) __attribute__((noreturn));

#endif
