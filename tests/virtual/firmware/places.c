/* Nodes and what they call, counted by hand in test_places.py. */

#include "registers.h"

#define NODE(which) __asm__ volatile("net_node_" #which ".%=:" : : : "memory")
#define NOPS(count) __asm__ volatile(".rept " #count "\n nop\n .endr" : : : "memory")
#define FUNCTION static __attribute__((noinline, noclone)) void

FUNCTION shared(void)
{
    NOPS(2);
}

FUNCTION inner(void)
{
    NOPS(3);
}

FUNCTION outer(void)
{
    NOPS(4);
    inner(); /* the last thing: a jump, not a call */
}

FUNCTION phase(void)
{
    NODE(0);
    outer();
    shared();
    NODE(empty);
    NODE(1);
    NOPS(5);
    NODE(1_0);
    shared();
    NODE(1);
    NOPS(6);
    NODE(none);
    NOPS(7);
}

int main(void)
{
    marker_init();
    __asm__ volatile("str %1, [%0]" : : "r"(MARKER), "r"(MARK(1)) : "memory");
    phase();
    __asm__ volatile("str %1, [%0]" : : "r"(MARKER), "r"(MARK(0)) : "memory");
    return 0;
}
