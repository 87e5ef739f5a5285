/* A pointer stays as it is, in one register. Where elements around it are used one by one, GCC 12 may
 * split their addresses otherwise, and keep a part of each in memory. */
#ifndef TINYODL_IN_REGISTER_H
#define TINYODL_IN_REGISTER_H

#define IN_REGISTER(pointer) __asm__("" : "+r"(pointer))

#endif
