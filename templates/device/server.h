/* The device's end of the serial line: takes frames, carries out each request once, answers. */
#ifndef SERVER_H
#define SERVER_H

/* Weights as compiled or as stored; nobody has said HELLO yet. */
void server_start(void);

/* Takes what has arrived and answers it. Returns when the receive ring is empty. */
void server_poll(void);

/* Starts, and serves for ever. */
void server_run(void) __attribute__((noreturn));

#endif
