/* Sending files, in pieces that grow while the reader keeps up: a slow reader has little of the file locked for him,
 * and how far he is can be told. Server editions send a piece by TransmitFile, which passes no user memory. Client
 * editions let only two of these run at a time for the whole system: there a piece is read into a buffer and sent.
 *
 * op_space()->send_file.step is the size of the next piece. */
#include "port/iocp.h"

enum {
        FIRST_PIECE_BYTES = 64 << 10,
        MOST_PIECE_BYTES = 8 << 20, /* less than the 2^31 - 1 that TransmitFile takes */
        BUFFER_BYTES = 64 << 10,    /* a whole number of pages, since pages are what gets locked */
        MAX_BUFFERS = 4096,
        MAX_SPARE_BUFFERS = 64,
};

/* ---- buffers of pieces ---- */

static char *take_buffer(struct iocp_port *self)
{
        char *buffer = self->spare_pieces;
        if (buffer) {
                memcpy(&self->spare_pieces, buffer, sizeof(buffer));
                self->spare_count--;
                return buffer;
        }
        if (self->piece_count == MAX_BUFFERS || !(buffer = memory_map(BUFFER_BYTES)))
                return NULL;
        self->piece_count++;
        return buffer;
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

/* Bytes have gone out: of the head, then of the file. */
static void account(struct iocp_port *self, struct berth_op *op, uint32_t bytes, int error)
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
                op_space(op)->send_file.step = min_of(op_space(op)->send_file.step * 2, (uint64_t)MOST_PIECE_BYTES);
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

void iocp_transmit_ended(struct iocp_port *self, struct io *io)
{
        int error = io->error;
        uint32_t bytes = iocp_bytes(io);
        account(self, iocp_give(self, io), bytes, error);
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
                account(self, iocp_give(self, io), 0, error);
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
        account(self, iocp_give(self, io), bytes, error);
}

static void start_piece(struct iocp_port *self, struct berth_op *op, uint32_t bytes)
{
        const struct berth_handle *file = file_of(op)->file;
        int error = iocp_tie_file(self, file);
        char *buffer = error ? NULL : take_buffer(self);
        if (!buffer) {
                op_finish(&self->port, op, error ? error : -ENOBUFS);
                return;
        }
        struct io *io = iocp_take(self, IO_PIECE_READ, op, iocp_file(file));
        if (!io) {
                give_buffer(self, buffer);
                return;
        }
        io->data = buffer;
        io->bytes = min_of(bytes, (uint32_t)BUFFER_BYTES);
        iocp_start(self, io, read_piece, file->flags & HANDLE_SKIPS);
}

/* ---- the next piece ---- */

/* A large head goes first, and one that nothing follows goes alone. */
void iocp_send_file_go_on(struct iocp_port *self, struct berth_op *op)
{
        struct op_space *space = op_space(op);
        const struct berth_send_file *file = file_of(op);
        if (!space->send_file.step)
                space->send_file.step = FIRST_PIECE_BYTES;
        int64_t bytes = head_left(file) > SEND_TURN_BYTES ? 0 : piece_of_file(file, space->send_file.step);
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
        iocp_start(self, io, bytes > 0 ? transmit : send_head, op->handle->flags & HANDLE_SKIPS);
}
