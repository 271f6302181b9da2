/* Sending files, in pieces that grow while the reader keeps up: a slow reader has little of the file locked for him,
 * and how far he is, which is known between pieces alone, can be told. Server editions send a piece by TransmitFile,
 * which passes no user memory. Client editions let only two of these run at a time for the whole system: there a piece
 * is read into a buffer and sent. Where no buffer is free the op waits, and nobody who comes later is served before it.
 *
 * op_space()->send_file.step is the size of the next piece where it goes by TransmitFile; else FED says that the op has
 * waited for a buffer and one has come back. */
#include "port/iocp.h"

enum {
        FIRST_PIECE_BYTES = 64 << 10,
        MOST_PIECE_BYTES = 1 << 20, /* less than the 2^31 - 1 that TransmitFile takes */
        QUICK_MS = 500,             /* a piece that took no longer is followed by one twice as large */
        LONG_MS = 4000,             /* and one that took longer by half of it */
        BUFFER_BYTES = 64 << 10,    /* a whole number of pages, since pages are what gets locked */
        DEFAULT_BUFFERS = 4096,
        MAX_SPARE_BUFFERS = 64,
        REFUSED_MS = 1000, /* without memory for a further buffer none is asked for */
        FED = 1,
};

/* ---- buffers of pieces ---- */

void iocp_make_pieces(struct iocp_port *self, uint32_t most)
{
        self->most_pieces = most ? most : DEFAULT_BUFFERS;
        list_init(&self->piece_waiters);
}

uint32_t iocp_file_buffer_bytes(const struct berth_port *port)
{
        return container_of((struct berth_port *)(uintptr_t)port, struct iocp_port, port)->transmits ? 0 : BUFFER_BYTES;
}

static char *take_buffer(struct iocp_port *self)
{
        char *buffer = self->spare_pieces;
        if (buffer) {
                memcpy(&self->spare_pieces, buffer, sizeof(buffer));
                self->spare_count--;
                return buffer;
        }
        if (self->piece_count >= self->most_pieces)
                return NULL;
        buffer = memory_map(BUFFER_BYTES);
        if (buffer)
                self->piece_count++;
        else
                self->no_piece_ms = clock_ms();
        return buffer;
}

/* Not all of those who are woken may take one: so it is looked each time, and not only when one comes back. */
bool iocp_feed_pieces(struct iocp_port *self)
{
        bool refused = self->no_piece_ms && clock_ms() - self->no_piece_ms < REFUSED_MS;
        uint32_t more = self->most_pieces - min_of(self->piece_count, self->most_pieces);
        uint32_t count = self->spare_count + (refused ? 0 : more);
        bool any = count > 0 && !list_empty(&self->piece_waiters);
        for (; count > 0 && !list_empty(&self->piece_waiters); count--) {
                struct berth_op *op = op_of_starved(self->piece_waiters.next);
                list_remove(&op_space(op)->recv.starved);
                op->state = OP_PENDING;
                op_space(op)->send_file.step = FED;
                op_runnable(&self->port, op);
        }
        return any;
}

static void give_buffer(struct iocp_port *self, char *buffer)
{
        if (self->spare_count < MAX_SPARE_BUFFERS) {
                memcpy(buffer, &self->spare_pieces, sizeof(buffer));
                self->spare_pieces = buffer;
                self->spare_count++;
                return;
        }
        memory_unmap(buffer, BUFFER_BYTES);
        self->piece_count--;
}

void iocp_free_pieces(struct iocp_port *self)
{
        while (self->spare_pieces) {
                char *buffer = self->spare_pieces;
                memcpy(&self->spare_pieces, buffer, sizeof(buffer));
                memory_unmap(buffer, BUFFER_BYTES);
        }
}

/* ---- what is left ---- */

static struct berth_send_file *file_of(struct berth_op *op)
{
        return op_space(op)->send_file.file;
}

static uint32_t head_left(const struct berth_send_file *file)
{
        return file->head_bytes - (uint32_t)file->head_sent;
}

static WSABUF head_of(const struct berth_send_file *file)
{
        return (WSABUF){ min_of(head_left(file), (uint32_t)SEND_TURN_BYTES),
                         (char *)(uintptr_t)file->head + file->head_sent };
}

static void place(OVERLAPPED *overlapped, uint64_t offset)
{
        overlapped->Offset = (DWORD)offset;
        overlapped->OffsetHigh = (DWORD)(offset >> 32);
}

/* Bytes of the file for the next piece: 0 when there are none any more, which the file's size tells, so that nothing
 * depends on what a call says of a range past the end. */
static int64_t piece_of_file(const struct berth_send_file *file, uint64_t most)
{
        LARGE_INTEGER size;
        if (!GetFileSizeEx(iocp_file(file->file), &size))
                return iocp_error(GetLastError());
        uint64_t at = file->offset + file->file_sent, left = file->length - file->file_sent;
        uint64_t there = (uint64_t)size.QuadPart > at ? (uint64_t)size.QuadPart - at : 0;
        return (int64_t)min_of(min_of(left, there), most);
}

/* Bytes have gone out: of the head, then of the file. `step`: for what comes next. */
static void account(struct iocp_port *self, struct berth_op *op, uint32_t bytes, int error, uint64_t step)
{
        struct berth_send_file *file = file_of(op);
        uint32_t of_head = min_of(bytes, head_left(file));
        file->head_sent += of_head;
        file->file_sent += bytes - of_head;
        if (file->head_sent == file->head_bytes && file->file_sent == file->length) {
                op_finish(&self->port, op, (int64_t)(file->head_sent + file->file_sent));
        } else if (error) {
                op_finish(&self->port, op, iocp_send_error(error));
        } else {
                self->port.stats.turns++;
                op_space(op)->send_file.step = step;
                op_runnable(&self->port, op);
        }
}

/* ---- in one call ---- */

static int send_head(struct iocp_port *self, struct io *io)
{
        (void)self;
        WSABUF head = head_of(file_of(io->op));
        return WSASend((SOCKET)io->target, &head, 1, NULL, 0, &io->overlapped, NULL) ? WSAGetLastError() : 0;
}

static int transmit(struct iocp_port *self, struct io *io)
{
        const struct berth_send_file *file = file_of(io->op);
        WSABUF head = head_of(file);
        TRANSMIT_FILE_BUFFERS around = { .Head = head.buf, .HeadLength = head.len };
        const struct provider *provider = iocp_provider(self, (SOCKET)io->target);
        place(&io->overlapped, file->offset + file->file_sent);
        return provider->transmit((SOCKET)io->target, iocp_file(file->file), io->bytes, 0, &io->overlapped,
                                  head.len ? &around : NULL, TF_USE_KERNEL_APC)
                       ? 0
                       : WSAGetLastError();
}

/* None shall take so long that its reader seems to take nothing. */
static uint64_t next_step(uint64_t step, uint64_t took_ms)
{
        if (took_ms <= QUICK_MS)
                return min_of(step * 2, (uint64_t)MOST_PIECE_BYTES);
        return took_ms > LONG_MS ? max_of(step / 2, (uint64_t)FIRST_PIECE_BYTES) : step;
}

void iocp_transmit_ended(struct iocp_port *self, struct io *io)
{
        int error = io->error;
        uint32_t bytes = iocp_bytes(io);
        uint64_t step = next_step(op_space(io->op)->send_file.step, clock_ms() - io->offset);
        account(self, iocp_give(self, io), bytes, error, step);
}

/* ---- in two ---- */

static int read_piece(struct iocp_port *self, struct io *io)
{
        (void)self;
        const struct berth_send_file *file = file_of(io->op);
        place(&io->overlapped, file->offset + file->file_sent);
        return ReadFile(io->target, io->data, io->bytes, NULL, &io->overlapped) ? 0 : (int)GetLastError();
}

static int send_piece(struct iocp_port *self, struct io *io)
{
        (void)self;
        WSABUF buffers[2] = { head_of(file_of(io->op)), { io->bytes, io->data } };
        unsigned first = buffers[0].len == 0;
        return WSASend((SOCKET)io->target, buffers + first, 2 - first, NULL, 0, &io->overlapped, NULL)
                       ? WSAGetLastError()
                       : 0;
}

/* Nothing was read: the file has become shorter, which the next look at its size tells. */
void iocp_piece_read(struct iocp_port *self, struct io *io)
{
        int error = io->error;
        uint32_t bytes = iocp_bytes(io);
        if (error || bytes == 0 || op_cancelled(io->op)) {
                give_buffer(self, io->data);
                account(self, iocp_give(self, io), 0, error, 0);
                return;
        }
        io->overlapped = (OVERLAPPED){ 0 };
        io->kind = IO_PIECE_SEND;
        io->bytes = bytes;
        io->target = iocp_file(io->op->handle);
        iocp_start(self, io, send_piece, io->op->handle->flags & HANDLE_SKIPS);
}

void iocp_piece_sent(struct iocp_port *self, struct io *io)
{
        int error = io->error;
        uint32_t bytes = iocp_bytes(io);
        give_buffer(self, io->data);
        account(self, iocp_give(self, io), bytes, error, 0);
}

/* NULL: there is none, and the op waits, or has ended where none would ever come back. */
static char *buffer_for(struct iocp_port *self, struct berth_op *op)
{
        bool in_turn = op_space(op)->send_file.step == FED || list_empty(&self->piece_waiters);
        char *buffer = in_turn ? take_buffer(self) : NULL;
        if (!buffer && self->piece_count == 0)
                op_finish(&self->port, op, -ENOBUFS);
        else if (!buffer)
                op_starve(&self->port, op, &self->piece_waiters);
        return buffer;
}

static void start_piece(struct iocp_port *self, struct berth_op *op, uint32_t bytes)
{
        const struct berth_handle *file = file_of(op)->file;
        int error = iocp_tie_file(self, file);
        if (error) {
                op_finish(&self->port, op, error);
                return;
        }
        char *buffer = buffer_for(self, op);
        if (!buffer)
                return;
        struct io *io = iocp_take(self, IO_PIECE_READ, op, iocp_file(file));
        if (!io) {
                give_buffer(self, buffer);
                return;
        }
        io->data = buffer;
        io->bytes = bytes;
        iocp_start(self, io, read_piece, file->flags & HANDLE_SKIPS);
}

/* ---- the next piece ---- */

/* A large head goes first, and one that nothing follows goes alone. */
void iocp_send_file_go_on(struct iocp_port *self, struct berth_op *op)
{
        struct op_space *space = op_space(op);
        const struct berth_send_file *file = file_of(op);
        if (self->transmits && !space->send_file.step)
                space->send_file.step = FIRST_PIECE_BYTES;
        uint64_t most = self->transmits ? space->send_file.step : BUFFER_BYTES;
        int64_t bytes = head_left(file) > SEND_TURN_BYTES ? 0 : piece_of_file(file, most);
        if (bytes < 0 || (bytes == 0 && head_left(file) == 0)) {
                bool all = file->file_sent == file->length;
                op_finish(&self->port, op,
                          bytes < 0 ? bytes
                          : all     ? (int64_t)(file->head_sent + file->file_sent)
                                    : -EIO);
                return;
        }
        if (bytes > 0 && !self->transmits) {
                start_piece(self, op, (uint32_t)bytes);
                return;
        }
        struct io *io = iocp_take(self, IO_TRANSMIT, op, iocp_file(op->handle));
        if (!io)
                return;
        io->bytes = (uint32_t)bytes;
        io->offset = clock_ms();
        iocp_start(self, io, bytes > 0 ? transmit : send_head, op->handle->flags & HANDLE_SKIPS);
}
