/* What does an encoder give for some images? Asked from C, without Python.
 *
 *   ./encode RUN/encoder/1 serving_default image representation <pixels >rows
 *
 * A SavedModel's folder, a signature, its input and one of its outputs. It reads images
 * from the standard input, uint8 (height, width, 3), one after the other without anything
 * between, and writes each one's representation, float32 in the machine's byte order.
 *
 * On the standard error there is one line where something is wrong, below TensorFlow's
 * own notes, of which TF_CPP_MIN_LOG_LEVEL=3 leaves few.
 *
 * The C API comes with TensorFlow's wheel, here in the folder TF:
 *
 *   TF=$(python -c 'import tensorflow as tf; print(tf.sysconfig.get_lib())')
 *   gcc -O2 -Wall -Wextra encode.c -o encode -I$TF/include -L$TF \
 *     -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2 -Wl,-rpath,$TF
 */

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>

enum { BATCH_SIZE = 64, MAX_DIMS = 8 };

typedef struct {
  TF_Status* status;
  TF_Graph* graph;
  TF_SessionOptions* options;
  TF_Buffer* meta_graph; /* A serialized MetaGraphDef. */
  TF_Session* session;
  TF_Output input, output;
  int64_t dims[MAX_DIMS]; /* Of a batch; the first is set for each. */
  int num_dims;
  size_t example_bytes;
} Encoder;

/* Writes one line about what is wrong, and returns 0. */
static int refuse(const char* expected, const char* received) {
  fprintf(stderr, "encode: Expected %s. Received: ", expected);
  for (; *received; ++received) fputc(*received == '\n' ? ' ' : *received, stderr);
  fputc('\n', stderr);
  return 0;
}

/* Is the last call's status good? Says why where it is not. */
static int succeeded(const Encoder* encoder, const char* expected) {
  if (TF_GetCode(encoder->status) == TF_OK) return 1;
  return refuse(expected, TF_Message(encoder->status));
}

/* Part of a serialized protocol buffer. */
typedef struct {
  const uint8_t* at;
  const uint8_t* end;
} Bytes;

static int read_varint(Bytes* bytes, uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 64 && bytes->at < bytes->end; shift += 7) {
    const uint8_t byte = *bytes->at++;
    *value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) return 1;
  }
  return 0;
}

/* Takes the next field off a message. `content` is empty unless the field is a text, a
 * message or an entry of a map. Returns 0 at the end. */
static int next_field(Bytes* message, uint64_t* number, Bytes* content) {
  uint64_t tag, length;
  if (!read_varint(message, &tag)) return 0;
  *number = tag >> 3;
  *content = (Bytes){message->at, message->at};
  switch (tag & 7) {
    case 0: return read_varint(message, &length);
    case 1: length = 8; break;
    case 2: if (!read_varint(message, &length)) return 0; break;
    case 5: length = 4; break;
    default: return 0;
  }
  if (length > (uint64_t)(message->end - message->at)) return 0;
  message->at += length;
  if ((tag & 7) == 2) *content = (Bytes){message->at - length, message->at};
  return 1;
}

/* The field of that number, the last as protocol buffers have it, or nothing. */
static Bytes find_field(Bytes message, uint64_t wanted) {
  Bytes found = {NULL, NULL}, content;
  uint64_t number;
  while (next_field(&message, &number, &content))
    if (number == wanted) found = content;
  return found;
}

/* The value that a map, a field of that number, has for a key; or nothing. */
static Bytes find_value(Bytes message, uint64_t map, const char* wanted) {
  Bytes entry;
  uint64_t number;
  while (next_field(&message, &number, &entry)) {
    if (number != map) continue;
    const Bytes key = find_field(entry, 1);
    const size_t length = (size_t)(key.end - key.at);
    if (length == strlen(wanted) && !memcmp(key.at, wanted, length))
      return find_field(entry, 2);
  }
  return (Bytes){NULL, NULL};
}

/* Finds in the graph what a signature calls by another name. */
static int find_tensor(Encoder* encoder, Bytes infos, int map, const char* alias,
                       TF_Output* output) {
  char name[256];
  const Bytes info = find_value(infos, map, alias); /* A TensorInfo. */
  const Bytes text = info.at ? find_field(info, 1) : info;
  const size_t length = (size_t)(text.end - text.at);
  if (!length || length >= sizeof name)
    return refuse("an input and an output of the signature", alias);
  memcpy(name, text.at, length);
  name[length] = '\0';
  char* colon = strrchr(name, ':'); /* OPERATION:NUMBER */
  output->index = colon ? atoi(colon + 1) : 0;
  if (colon) *colon = '\0';
  output->oper = TF_GraphOperationByName(encoder->graph, name);
  if (!output->oper) return refuse("the signature's tensor in the graph", name);
  if (!TF_DataTypeSize(TF_OperationOutputType(*output)))
    return refuse("an input and an output of numbers", alias);
  return 1;
}

/* Loads a SavedModel, and looks up what is to be asked. */
static int load(Encoder* encoder, const char* folder, const char* signature,
                const char* input, const char* output) {
  const char* tags[] = {"serve"};
  encoder->status = TF_NewStatus();
  encoder->graph = TF_NewGraph();
  encoder->options = TF_NewSessionOptions();
  encoder->meta_graph = TF_NewBuffer();
  encoder->session = TF_LoadSessionFromSavedModel(
      encoder->options, NULL, folder, tags, 1, encoder->graph, encoder->meta_graph,
      encoder->status);
  if (!succeeded(encoder, "the folder of a SavedModel")) return 0;

  const uint8_t* start = encoder->meta_graph->data;
  const Bytes graph = {start, start + encoder->meta_graph->length};
  const Bytes infos = find_value(graph, 5, signature); /* A SignatureDef. */
  if (!infos.at) return refuse("a signature of the SavedModel", signature);
  if (!find_tensor(encoder, infos, 1, input, &encoder->input)) return 0;
  if (!find_tensor(encoder, infos, 2, output, &encoder->output)) return 0;

  encoder->num_dims =
      TF_GraphGetTensorNumDims(encoder->graph, encoder->input, encoder->status);
  if (!succeeded(encoder, "an input in the graph")) return 0;
  if (encoder->num_dims < 1 || encoder->num_dims > MAX_DIMS)
    return refuse("an input with a batch's shape", input);
  TF_GraphGetTensorShape(encoder->graph, encoder->input, encoder->dims,
                         encoder->num_dims, encoder->status);
  if (!succeeded(encoder, "an input with a shape")) return 0;
  encoder->example_bytes = TF_DataTypeSize(TF_OperationOutputType(encoder->input));
  for (int i = 1; i < encoder->num_dims; ++i) {
    if (encoder->dims[i] < 1) return refuse("examples of a known shape", input);
    encoder->example_bytes *= (size_t)encoder->dims[i];
  }
  return 1;
}

/* Asks for one batch, and writes what comes back. The tensor is the caller's. */
static int run(Encoder* encoder, TF_Tensor* images) {
  TF_Tensor* rows = NULL;
  TF_SessionRun(encoder->session, NULL, &encoder->input, &images, 1, &encoder->output,
                &rows, 1, NULL, 0, NULL, encoder->status);
  if (!succeeded(encoder, "an answer of the encoder")) return 0;
  const size_t length = TF_TensorByteSize(rows);
  const int written = fwrite(TF_TensorData(rows), 1, length, stdout) == length;
  TF_DeleteTensor(rows);
  return written || refuse("to write all rows", "a full disk or a closed pipe");
}

/* Encodes all that comes in, so many images at a time. */
static int encode(Encoder* encoder) {
  const TF_DataType type = TF_OperationOutputType(encoder->input);
  const size_t batch_bytes = BATCH_SIZE * encoder->example_bytes;
  uint8_t* bytes = malloc(batch_bytes);
  if (!bytes) return refuse("memory for a batch", "none");
  uint64_t total = 0;
  size_t length = batch_bytes;
  int good = 1;
  while (good && length == batch_bytes) {
    length = fread(bytes, 1, batch_bytes, stdin);
    total += length;
    if (length % encoder->example_bytes || !total) {
      char text[96];
      snprintf(text, sizeof text, "%" PRIu64 " bytes, where one has %zu", total,
               encoder->example_bytes);
      good = refuse("one image or more, each of them whole", text);
    } else if (length) {
      encoder->dims[0] = (int64_t)(length / encoder->example_bytes);
      TF_Tensor* images =
          TF_AllocateTensor(type, encoder->dims, encoder->num_dims, length);
      memcpy(TF_TensorData(images), bytes, length);
      good = run(encoder, images);
      TF_DeleteTensor(images);
    }
  }
  free(bytes);
  if (good && fflush(stdout)) good = refuse("to write all rows", "a full disk");
  return good;
}

/* Frees what `load` made, however far it came. */
static void release(Encoder* encoder) {
  if (encoder->session) {
    TF_CloseSession(encoder->session, encoder->status);
    TF_DeleteSession(encoder->session, encoder->status);
  }
  TF_DeleteBuffer(encoder->meta_graph);
  TF_DeleteSessionOptions(encoder->options);
  TF_DeleteGraph(encoder->graph);
  TF_DeleteStatus(encoder->status);
}

int main(int argc, char** argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: encode FOLDER SIGNATURE INPUT OUTPUT <pixels >rows\n");
    return 1;
  }
  Encoder encoder = {0};
  const int good = load(&encoder, argv[1], argv[2], argv[3], argv[4]) && encode(&encoder);
  release(&encoder);
  return good ? 0 : 1;
}
