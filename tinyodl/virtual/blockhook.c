/* Counts what a virtual board executes: unicorn calls meter_block() before each basic block.
 *
 * A block is counted as a whole when it is entered. Where the exact count inside a block matters,
 * at an access to a peripheral or at a fault, meter_touch() takes off what has not been executed
 * yet. Nothing else cuts a block short: the board stops only between blocks, by setting stop_at. */

#include <stdbool.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

enum { REGISTER_PC = 11 }; /* UC_ARM_REG_PC */

typedef struct {
    uint32_t instructions, cycles;
} sum;

/* One executable section: entry i of the arrays belongs to address + 2 * i. */
typedef struct {
    uint32_t address, size;
    const sum *sums;     /* everything in the section before this half-word */
    const uint8_t *ends; /* of the instruction that ends here: TAKEN_CYCLES and flags */
} code_table;

enum { TAKEN_CYCLES = 0x0F };

/* Mirrored by tinyodl/virtual/meter.py. */
typedef struct {
    uint64_t instructions, cycles;         /* executed, the current block as a whole */
    uint64_t instructions_now, cycles_now; /* before the instruction that touched something */
    uint64_t stop_at;                      /* cycles: no block begins from here on */
    const code_table *tables;
    uint32_t table_count;
    uint32_t next;    /* address behind the current block */
    uint32_t size;    /* of the current block, in bytes */
    uint32_t end;     /* how the current block ends, an entry of code_table.ends */
    uint32_t pc;      /* of the instruction that touched something */
    uint32_t stray;   /* address of a block outside all tables */
    uint32_t strayed; /* whether there was one */
    const sum *behind; /* the sums at `next` */
    int (*stop)(void *engine);
    int (*read_register)(void *engine, int which, void *value);
} meter;

static bool contains(const code_table *table, uint32_t address, uint32_t size)
{
    uint32_t offset = address - table->address; /* huge for an address below */
    return offset < table->size && size <= table->size - offset;
}

EXPORT void meter_block(void *engine, uint64_t address, uint32_t size, void *user)
{
    meter *m = user;
    if (m->cycles >= m->stop_at) {
        m->stop(engine);
        return;
    }
    const code_table *table = m->tables;
    while (!contains(table, (uint32_t)address, size)) {
        if (++table == m->tables + m->table_count) {
            m->stray = (uint32_t)address;
            m->strayed = 1;
            m->stop(engine);
            return;
        }
    }
    uint32_t offset = (uint32_t)address - table->address;
    if ((uint32_t)address != m->next) {
        m->cycles += m->end & TAKEN_CYCLES;
    }
    const sum *first = table->sums + offset / 2;
    const sum *behind = first + size / 2;
    m->instructions += behind->instructions - first->instructions;
    m->cycles += behind->cycles - first->cycles;
    m->next = (uint32_t)address + size;
    m->size = size;
    m->end = table->ends[(offset + size) / 2];
    m->behind = behind;
}

/* Called before an access that needs to know where the processor is; lets the access happen. */
EXPORT bool meter_touch(void *engine, int type, uint64_t address, int size, int64_t value, void *user)
{
    meter *m = user;
    (void)type, (void)address, (void)size, (void)value;
    m->read_register(engine, REGISTER_PC, &m->pc);
    uint32_t left = m->next - m->pc;
    if (left > m->size) { /* a jump into nothing: the block itself is done */
        left = 0;
    }
    const sum *here = m->behind - left / 2;
    m->instructions_now = m->instructions - (m->behind->instructions - here->instructions);
    m->cycles_now = m->cycles - (m->behind->cycles - here->cycles);
    return true;
}
