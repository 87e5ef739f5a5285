#include "commands.h"

#include <string.h>

#include "bytes.h"
#include "config.h"
#include "meter.h"
#include "net.h"
#include "port.h"
#include "sample.h"
#include "store.h"

static struct {
    uint32_t steps;      /* samples that the weights have learned from */
    uint32_t generation; /* of the store's state; 0: the store is empty */
    uint32_t trained, evaluated, inferred; /* since boot */
    uint8_t restored; /* the weights go back to a state from the store */
    uint8_t state;    /* AS_SAVED, AS_COMPILED, or 0: changed since */
    uint8_t output_valid;
    uint8_t asked; /* the sample of the last ASK is there to learn from */
} session;

enum { AS_SAVED = 2, AS_COMPILED = 4 }; /* what the parameters are, bits of the reply to HELLO */

/// Bodies ///

static command_status fail(command_exchange *exchange, command_status status, uint32_t detail)
{
    exchange->detail = detail;
    return status;
}

/* Why flash did not take what it was to keep. */
static command_status fail_flash(command_exchange *exchange)
{
    const uint32_t boot_loader = port_flash_boot_loader();
    if (boot_loader != PORT_NO_BOOT_LOADER)
        return fail(exchange, STATUS_BOOT_LOADER, boot_loader);
    return fail(exchange, STATUS_STORE, 0);
}

static void put(command_exchange *exchange, const void *from, uint32_t count)
{
    memcpy(exchange->reply + exchange->reply_length, from, count);
    exchange->reply_length += count;
}

static void put_u16(command_exchange *exchange, uint32_t value)
{
    set_u16(exchange->reply + exchange->reply_length, (uint16_t)value);
    exchange->reply_length += 2;
}

static void put_u32(command_exchange *exchange, uint32_t value)
{
    set_u32(exchange->reply + exchange->reply_length, value);
    exchange->reply_length += 4;
}

static void put_u64(command_exchange *exchange, uint64_t value)
{
    put_u32(exchange, (uint32_t)value);
    put_u32(exchange, (uint32_t)(value >> 32));
}

static void put_f32(command_exchange *exchange, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_u32(exchange, bits);
}

/// Who is there ///

static const uint8_t magic[4] = {'T', 'O', 'D', 'L'};

static command_status hello(command_exchange *exchange)
{
    static const char board[] = TINYODL_BOARD;
    _Static_assert(76 + sizeof board <= TINYODL_MAX_BODY, "the reply to HELLO has no room");

    if (memcmp(exchange->body, magic, sizeof magic) != 0)
        return fail(exchange, STATUS_RANGE, 0);
    sample_drop(); /* a new host knows of no sample */
    session.asked = 0;

    put(exchange, magic, sizeof magic);
    put_u16(exchange, PROTOCOL_VERSION);
    put_u16(exchange, TINYODL_MAX_BODY);
    put(exchange, net_model_id, sizeof net_model_id);
    put_u32(exchange, port_clock_hz());
    put_u16(exchange, (uint32_t)port_clock_source() |
                          ((uint32_t)session.restored | (uint32_t)session.state) << 8);
    put_u16(exchange, NET_PARAMETERS);
    put_u32(exchange, NET_INPUT_BYTES);
    put_u32(exchange, NET_TARGET_BYTES);
    put_u32(exchange, NET_OUTPUT_BYTES);
    put_u32(exchange, NET_CLASSES);
    put_u32(exchange, NET_STATE_BYTES);
    put_u32(exchange, NET_BATCH);
    put_u32(exchange, session.steps);
    put_u32(exchange, session.generation);
    put_u32(exchange, port_flash_bytes(PORT_SLOT_0));
    put_u32(exchange, store_bytes_needed());
    put_u32(exchange, port_stack_bytes());
    put_u32(exchange, port_stack_used());
    put_f32(exchange, net_learning_rate());
    put(exchange, board, sizeof board - 1);
    return STATUS_OK;
}

static command_status statistics(const link_counts *link, command_exchange *exchange)
{
    put_u64(exchange, meter_total(NET_FORWARD));
    put_u64(exchange, meter_total(NET_BACKWARD));
    put_u64(exchange, meter_total(NET_UPDATE));
    put_u32(exchange, session.steps);
    put_u32(exchange, session.trained);
    put_u32(exchange, session.evaluated);
    put_u32(exchange, session.inferred);
    put_u32(exchange, link->frames);
    put_u32(exchange, link->bad_frames);
    put_u32(exchange, link->repeats);
    put_u32(exchange, link->refused);
    put_u32(exchange, port_stack_bytes());
    put_u32(exchange, port_stack_used());
    return STATUS_OK;
}

/// Samples ///

/* The network may work on a sample as it arrives: that belongs to its step. The output may lie
 * where the sample goes. */
static void begin_arrival(int anew)
{
    if (anew)
        meter_start();
    session.asked = 0;
    session.output_valid = 0;
}

static command_status write_buffer(command_exchange *exchange)
{
    uint8_t buffer = exchange->body[0];
    uint32_t offset = get_u32(exchange->body + 4);
    uint32_t count = exchange->length - 8;

    if (buffer >= NET_BUFFER_OUTPUT)
        return fail(exchange, STATUS_RANGE, NET_BUFFER_OUTPUT);
    uint32_t bytes = sample_bytes(buffer);
    if (offset > bytes || count > bytes - offset)
        return fail(exchange, STATUS_RANGE, bytes);
    if (offset != 0 && offset != sample_received(buffer))
        return fail(exchange, STATUS_INCOMPLETE, sample_received(buffer));

    begin_arrival(buffer == NET_BUFFER_INPUT && offset == 0);
    sample_write(buffer, offset, exchange->body + 8, count);
    return STATUS_OK;
}

void commands_piece(uint8_t anew, uint32_t offset, const uint8_t *from, uint32_t count)
{
    if (anew)
        sample_drop();
    begin_arrival(anew);
    sample_piece(offset, from, count);
}

static command_status read_buffer(command_exchange *exchange)
{
    uint8_t buffer = exchange->body[0];
    uint32_t offset = get_u32(exchange->body + 4);
    uint32_t count = get_u32(exchange->body + 8);

    if (buffer >= NET_BUFFERS)
        return fail(exchange, STATUS_RANGE, NET_BUFFERS);
    uint32_t bytes = net_buffers[buffer].bytes;
    if (count > TINYODL_MAX_BODY)
        return fail(exchange, STATUS_RANGE, TINYODL_MAX_BODY);
    if (offset > bytes || count > bytes - offset)
        return fail(exchange, STATUS_RANGE, bytes);
    uint32_t valid = bytes;
    if (buffer < NET_BUFFER_OUTPUT)
        valid = sample_received(buffer);
    else if (!session.output_valid)
        valid = 0;
    if (offset + count > valid)
        return fail(exchange, STATUS_INCOMPLETE, valid);
    if (count == 0)
        return STATUS_OK; /* also of a buffer that does not exist: a target where there are labels */

    put(exchange, (const uint8_t *)net_buffers[buffer].data + offset, count);
    return STATUS_OK;
}

/// Steps ///

static command_status incomplete(command_exchange *exchange, uint32_t buffer)
{
    if (!exchange->pieces)
        return fail(exchange, STATUS_INCOMPLETE, sample_received(buffer));
    sample_progress progress = sample_so_far();
    exchange->beyond = progress.beyond;
    exchange->piece = progress.length;
    return fail(exchange, STATUS_INCOMPLETE, progress.bytes);
}

/* Is there a sample, with what this loss compares its output with? */
static command_status check_labelled(command_exchange *exchange, int to_learn)
{
    if (NET_TARGET_BYTES == 0 && !net_takes((int32_t)get_u32(exchange->body), to_learn))
        return fail(exchange, STATUS_RANGE, NET_CLASSES);
    if (sample_is_missing(NET_BUFFER_INPUT))
        return incomplete(exchange, NET_BUFFER_INPUT);
    if (sample_is_missing(NET_BUFFER_TARGET))
        return incomplete(exchange, NET_BUFFER_TARGET);
    return STATUS_OK;
}

/* A step uses the arena for whatever it needs, so the sample is gone. */
static void consume_sample(uint8_t output_valid)
{
    sample_drop();
    session.output_valid = output_valid;
    session.asked = 0;
}

static void put_step(command_exchange *exchange, float loss)
{
    put_u32(exchange, (uint32_t)net_predicted());
    put_f32(exchange, loss);
    put_u32(exchange, meter_step(NET_FORWARD));
    put_u32(exchange, meter_step(NET_BACKWARD));
    put_u32(exchange, meter_step(NET_UPDATE));
    put_u32(exchange, net_flags());
}

/* Whether flash took what the network was to keep there. */
static int is_kept(void)
{
#ifdef NET_FLASH
    return net_kept();
#else
    return 1;
#endif
}

/* The reply to a step that may have learned. It has, unless the sample has no label or is an
 * outlier, or the guard holds it back, or flash does not keep it. */
static command_status end_training(command_exchange *exchange, int32_t label, float loss)
{
    consume_sample(NET_OUTPUT_STAYS);
    session.state = 0;
    if (!is_kept())
        return fail_flash(exchange);
    put_step(exchange, loss);
    session.trained++;
    if (label == NET_SKIPPED)
        return STATUS_OK;
#ifdef NET_SKIPS_FLAGGED
    if (label < 0 && net_predicted())
        return STATUS_OK;
#endif
    if (net_flags() & (FLAG_HELD_BACK | FLAG_OUTLIER))
        return STATUS_OK;
    session.steps++;
    return STATUS_OK;
}

static command_status infer(command_exchange *exchange)
{
    const uint32_t bytes = NET_OUTPUT_BYTES;
    const uint32_t room = TINYODL_MAX_BODY - 8u; /* behind the rest of the reply */
    const uint32_t most = bytes < room ? bytes : room;
    uint32_t count = 0; /* of the output, in the reply */
    if (exchange->length != 0) {
        if (exchange->length != 2)
            return fail(exchange, STATUS_LENGTH, 2);
        count = get_u16(exchange->body);
        if (count > most)
            return fail(exchange, STATUS_RANGE, most);
    }
    if (sample_is_missing(NET_BUFFER_INPUT))
        return incomplete(exchange, NET_BUFFER_INPUT);
    net_forward();
    session.inferred++;
    consume_sample(1);
    put_u32(exchange, (uint32_t)net_predicted());
    put_u32(exchange, meter_step(NET_FORWARD));
    put(exchange, net_buffers[NET_BUFFER_OUTPUT].data, count);
    return STATUS_OK;
}

static command_status evaluate(command_exchange *exchange)
{
    command_status status = check_labelled(exchange, 0);
    if (status != STATUS_OK)
        return status;
    float loss = net_evaluate((int32_t)get_u32(exchange->body));
    session.evaluated++;
    consume_sample(1);
    put_step(exchange, loss);
    return STATUS_OK;
}

static command_status train(command_exchange *exchange)
{
    int32_t label = (int32_t)get_u32(exchange->body);
    command_status status = check_labelled(exchange, 1);
    if (status != STATUS_OK)
        return status;
    return end_training(exchange, label, net_train(label));
}

#ifdef NET_ASKS
static command_status ask(command_exchange *exchange)
{
    if (sample_is_missing(NET_BUFFER_INPUT))
        return incomplete(exchange, NET_BUFFER_INPUT);
    float threshold, margin = net_ask(&threshold);
    session.inferred++;
    consume_sample(1);
    session.asked = 1;
    session.state = 0; /* where drift is looked for, the sample counts */
    put_u32(exchange, (uint32_t)net_predicted());
    put_f32(exchange, margin);
    put_f32(exchange, threshold);
    put_u32(exchange, net_flags());
    put_u32(exchange, meter_step(NET_FORWARD));
    return STATUS_OK;
}

/* The answer to ASK: the arena still holds what the rest of the step reads. */
static command_status learn(command_exchange *exchange)
{
    int32_t label = (int32_t)get_u32(exchange->body);
    if (!net_takes(label, 1))
        return fail(exchange, STATUS_RANGE, NET_CLASSES);
    if (!session.asked)
        return fail(exchange, STATUS_INCOMPLETE, 0);
    return end_training(exchange, label, net_learn(label));
}
#endif

#ifdef NET_CACHE
/* From samples that the network keeps: so many updates, or until an epoch ends. */
static command_status replay(command_exchange *exchange)
{
    enum { MOST_BATCHES = 256, ORDERS = 3 };
    uint32_t batches = get_u16(exchange->body);
    uint32_t order = exchange->body[2];
    uint32_t samples;

    if (batches == 0 || batches > MOST_BATCHES)
        return fail(exchange, STATUS_RANGE, MOST_BATCHES);
    if (order >= ORDERS)
        return fail(exchange, STATUS_RANGE, ORDERS);
    if (net_cached() == 0)
        return fail(exchange, STATUS_EMPTY, 0);
    meter_start();
    float loss = net_replay(batches, order, &samples);
    consume_sample(0);
    session.state = 0;
    if (!is_kept())
        return fail_flash(exchange);
    put_u32(exchange, samples);
    put_u32(exchange, net_cached());
    put_f32(exchange, loss);
    put_u32(exchange, meter_step(NET_FORWARD));
    put_u32(exchange, meter_step(NET_BACKWARD));
    put_u32(exchange, meter_step(NET_UPDATE));
    put_u32(exchange, net_flags());
    return STATUS_OK;
}
#endif

static command_status flush(command_exchange *exchange)
{
    meter_start();
    session.state = 0;
    put_u32(exchange, net_flush());
    put_u32(exchange, meter_step(NET_UPDATE));
#ifdef NET_GUARDS
    net_settle();
    if (!is_kept())
        return fail_flash(exchange);
    put_u32(exchange, net_flags());
#endif
    consume_sample(0);
    return STATUS_OK;
}

/// Parameters ///

/* The parameter that the body begins with, or 0 when it is not all there from `offset` on. */
static uint8_t *find_parameter(command_exchange *exchange, uint32_t offset, uint32_t count)
{
    const uint32_t parameters = NET_PARAMETERS;
    uint32_t index = get_u16(exchange->body);
    if (index >= parameters) {
        exchange->detail = parameters;
        return 0;
    }
    uint32_t bytes = net_parameters[index].bytes;
    if (offset > bytes || count > bytes - offset) {
        exchange->detail = bytes;
        return 0;
    }
    return (uint8_t *)net_parameters[index].data + offset;
}

static command_status read_parameter(command_exchange *exchange)
{
    uint32_t offset = get_u32(exchange->body + 4);
    uint32_t count = get_u32(exchange->body + 8);

    if (count > TINYODL_MAX_BODY)
        return fail(exchange, STATUS_RANGE, TINYODL_MAX_BODY);
    const uint8_t *from = find_parameter(exchange, offset, count);
    if (from == 0)
        return STATUS_RANGE;
    put(exchange, from, count);
    return STATUS_OK;
}

static command_status write_parameter(command_exchange *exchange)
{
    uint32_t offset = get_u32(exchange->body + 4);
    uint32_t count = exchange->length - 8;

    uint8_t *to = find_parameter(exchange, offset, count);
    if (to == 0)
        return STATUS_RANGE;
    memcpy(to, exchange->body + 8, count);
    session.asked = 0;
    session.state = 0;
    return STATUS_OK;
}

static command_status learning_rate(command_exchange *exchange)
{
    if (exchange->length != 0) {
        if (exchange->length != 4)
            return fail(exchange, STATUS_LENGTH, 4);
        /* As a number of bits: infinity, NaN and everything negative are not below infinity. */
        if (get_u32(exchange->body) >= 0x7f800000u)
            return fail(exchange, STATUS_RANGE, 0x7f800000u);
        net_set_learning_rate(get_f32(exchange->body));
    }
    put_f32(exchange, net_learning_rate());
    return STATUS_OK;
}

static command_status setting(command_exchange *exchange)
{
#ifdef NET_SETTINGS
    uint32_t index = get_u16(exchange->body);
    if (index >= NET_SETTINGS)
        return fail(exchange, STATUS_RANGE, NET_SETTINGS);
    if (exchange->length != 4) {
        if (exchange->length != 8)
            return fail(exchange, STATUS_LENGTH, 8);
        const net_setting_range *range = &net_setting_ranges[index];
        float value = get_f32(exchange->body + 4);
        if (!(value >= range->least && value <= range->most)) /* also what is no number */
            return fail(exchange, STATUS_RANGE, get_u32(exchange->body + 4));
        net_settings[index] = value;
    }
    put_f32(exchange, net_settings[index]);
    return STATUS_OK;
#else
    return fail(exchange, STATUS_RANGE, 0);
#endif
}

static command_status reset(command_exchange *exchange)
{
    if (exchange->length == 1 && exchange->body[0] > 1)
        return fail(exchange, STATUS_RANGE, 1);
#ifdef NET_FLASH
    if ((exchange->length == 0 || exchange->body[0] == 0) && net_forget() < 0)
        return fail_flash(exchange);
#endif
    net_reset();
    session.asked = 0;
    session.steps = 0;
    session.restored = 0;
    session.state = AS_COMPILED;
    return STATUS_OK;
}

/* A host that writes parameters back says how many samples they have learned from. */
static command_status set_steps(command_exchange *exchange)
{
    session.steps = get_u32(exchange->body);
    session.state = 0;
    return STATUS_OK;
}

/// Store ///

static command_status store_status(command_exchange *exchange, int result)
{
    if (result == STORE_OK)
        return STATUS_OK;
    if (result == STORE_NO_SPACE)
        return fail(exchange, STATUS_NO_SPACE, store_bytes_needed());
    return result == STORE_EMPTY ? fail(exchange, STATUS_EMPTY, 0) : fail_flash(exchange);
}

static command_status save(command_exchange *exchange)
{
    store_record record = {0, 0};
    command_status status = store_status(exchange, store_save(session.steps, &record));
    if (status != STATUS_OK)
        return status;
    session.generation = record.generation;
    session.state = AS_SAVED;
    put_u32(exchange, record.generation);
    return STATUS_OK;
}

/* What the network keeps in flash has its own life: it is as of now, whatever the store's age, unless
 * the host goes back in time, to send the same samples again. */
static void recover(void)
{
#ifdef NET_FLASH
    net_recover();
#endif
}

static int went_back(void)
{
#ifdef NET_FLASH
    return net_went_back();
#else
    return 1;
#endif
}

static command_status restore(command_exchange *exchange)
{
    store_record record = {0, 0};
    if (exchange->length == 1 && exchange->body[0] > 1)
        return fail(exchange, STATUS_RANGE, 1);
    command_status status = store_status(exchange, store_restore(&record));
    if (status != STATUS_OK)
        return status;
    session.asked = 0;
    session.restored = 1;
    session.state = AS_SAVED;
    if (exchange->length == 0 || exchange->body[0] == 0) {
        recover();
    } else if (!went_back()) {
        recover();
        status = fail_flash(exchange);
    }
    session.generation = record.generation;
    session.steps = record.steps;
    if (status != STATUS_OK)
        return status;
    put_u32(exchange, record.generation);
    put_u32(exchange, record.steps);
    return STATUS_OK;
}

void commands_start(void)
{
    store_record record = {0, 0};
    memset(&session, 0, sizeof session);
    net_reset();
    session.restored = store_restore(&record) == STORE_OK;
    session.state = session.restored ? AS_SAVED : AS_COMPILED;
    recover();
    session.generation = record.generation;
    session.steps = record.steps;
}

/// Which one ///

/* The shortest and the longest body of each command, by its code. */
static const struct {
    uint16_t shortest, longest;
} lengths[] = {
    [COMMAND_HELLO] = {6, TINYODL_MAX_BODY}, /* later versions may say more */
    [COMMAND_WRITE] = {9, TINYODL_MAX_BODY},
    [COMMAND_READ] = {12, 12},
    [COMMAND_INFER] = {0, 2},
    [COMMAND_EVALUATE] = {4, 4},
    [COMMAND_TRAIN] = {4, 4},
    [COMMAND_FLUSH] = {0, 0},
    [COMMAND_PARAMETER_READ] = {12, 12},
    [COMMAND_PARAMETER_WRITE] = {9, TINYODL_MAX_BODY},
    [COMMAND_LEARNING_RATE] = {0, 4},
    [COMMAND_STATISTICS] = {0, 0},
    [COMMAND_SAVE] = {0, 0},
    [COMMAND_RESTORE] = {0, 1},
    [COMMAND_RESET] = {0, 1},
    [COMMAND_REBOOT] = {0, 0},
    [COMMAND_REPLAY] = {4, 4},
    [COMMAND_SETTING] = {4, 8},
    [COMMAND_ASK] = {0, 0},
    [COMMAND_LEARN] = {4, 4},
    [COMMAND_STEPS] = {4, 4},
};

int command_is_step(uint8_t command)
{
    return command == COMMAND_INFER || command == COMMAND_EVALUATE || command == COMMAND_TRAIN ||
           command == COMMAND_ASK;
}

command_status command_run(uint8_t command, const link_counts *link, command_exchange *exchange)
{
    if (command == 0 || command >= sizeof lengths / sizeof lengths[0])
        return fail(exchange, STATUS_UNKNOWN, 0);
    if (exchange->length < lengths[command].shortest || exchange->length > lengths[command].longest)
        return fail(exchange, STATUS_LENGTH, lengths[command].shortest);

    switch ((command_code)command) {
    case COMMAND_PIECE: break; /* the server's part */
    case COMMAND_HELLO: return hello(exchange);
    case COMMAND_WRITE: return write_buffer(exchange);
    case COMMAND_READ: return read_buffer(exchange);
    case COMMAND_INFER: return infer(exchange);
    case COMMAND_EVALUATE: return evaluate(exchange);
    case COMMAND_TRAIN: return train(exchange);
    case COMMAND_FLUSH: return flush(exchange);
    case COMMAND_PARAMETER_READ: return read_parameter(exchange);
    case COMMAND_PARAMETER_WRITE: return write_parameter(exchange);
    case COMMAND_LEARNING_RATE: return learning_rate(exchange);
    case COMMAND_STATISTICS: return statistics(link, exchange);
    case COMMAND_SAVE: return save(exchange);
    case COMMAND_RESTORE: return restore(exchange);
    case COMMAND_RESET: return reset(exchange);
    case COMMAND_REBOOT: exchange->reboot = 1; return STATUS_OK;
#ifdef NET_CACHE
    case COMMAND_REPLAY: return replay(exchange);
#else
    case COMMAND_REPLAY: break;
#endif
    case COMMAND_SETTING: return setting(exchange);
    case COMMAND_STEPS: return set_steps(exchange);
#ifdef NET_ASKS
    case COMMAND_ASK: return ask(exchange);
    case COMMAND_LEARN: return learn(exchange);
#else
    case COMMAND_ASK:
    case COMMAND_LEARN: break;
#endif
    }
    return STATUS_UNKNOWN;
}
