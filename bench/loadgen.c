/* A bounded, single-threaded epoll load generator for proxies that take CONNECT and intercept TLS.
 *
 * Each connection: TCP, CONNECT host:port (unless direct), TLS 1.3 or 1.2 with ALPN http/1.1, -k keep-alive GETs,
 * close; then again, until -n requests are sent or -d seconds are over. It connects to 127.0.0.0/8 only.
 *
 *   -x ip:port    the proxy                               -t host:port  the target; host may hold one %d
 *   -A ip:port    no proxy: TLS straight to this address  -r N          %d counts over N names, one per connection
 *   -p /path      request path                            -o N          first value of %d (default 1)
 *   -c N          concurrent connections                  -k N          requests per connection (0: no limit)
 *   -n N          stop after N requests                   -d S          stop after S seconds
 *   -w S          warm-up, not counted                    -H 'A: b'     one more request header line
 *   -C 'A: b'     one more header line on CONNECT         -l N          body bytes that every reply must have
 *   -V ca.pem     verify certificate and host name        -s            resume TLS sessions
 *   -P pgid       CPU time of that process group          -g MS         paced: a request each MS ms in each tunnel,
 *                                                                       counted late if the one before was slow
 *   -i S          idle mode: open -c tunnels, one GET each; hold them S seconds or until stdin ends; one more GET each
 *
 * -s resumes with the newest ticket that the server gave, once, as OpenSSL does for every client and RFC 8446 (C.4)
 * advises; without one it makes a full handshake. SIGINT ends a load before its time. Prints one JSON line; in idle
 * mode one line when the tunnels are open and one at the end. Exit 0 when it ran, whatever it measured; 2 for wrong
 * usage.
 *
 *   gcc -O2 -Wall -Wextra -o loadgen loadgen.c -lssl -lcrypto
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  MAX_CONNECTIONS = 12000,
  MAX_NAMES = 65536,
  MAX_REQUESTS = 20000000,
  MAX_SECONDS = 120,
  MAX_ERRORS = 200,
  AT_ONCE = 50,         /* idle mode: under way together */
  AGAIN_SECONDS = 60,   /* idle mode: for the last request of all */
  HEAD_BYTES = 16384,
};

enum state { FREE, TCP, CONNECT_SEND, CONNECT_REPLY, HANDSHAKE, REQUEST, RESPONSE, IDLE, PAUSED };
static const char *const STATE[] = {"free", "tcp", "connect", "connect reply", "handshake", "request", "response", "idle", "paused"};

enum chunk_state { CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };

struct conn {
  int fd;
  enum state state;
  SSL *ssl;
  char host[256];
  int name;             /* value of %d; index of the TLS session */
  char out[3072];       /* CONNECT, then the request */
  int out_len, out_off;
  char head[HEAD_BYTES];
  int head_len;
  int in_body, status, chunked, until_close, close_after;
  enum chunk_state chunk;
  char line[64];        /* chunk size or trailer line */
  int line_len;
  long body_left, body_got, requests;
  int measured;         /* the request began within the measured window */
  uint64_t t_start, t_tcp, t_tunnel, t_tls, t_request, t_first;
  uint64_t t_due;       /* paced: when the next request is */
};

/* ---- what was asked for ---- */

static struct {
  struct sockaddr_in to;
  int proxied, resume, idle, connections, names, first_name;
  long per_connection, requests, body_bytes;
  double seconds, warmup, hold, pace /* ms */;
  pid_t group;
  char host[200], port[16], path[1024], header[1024], connect_header[1024];
} opt = {.connections = 1, .first_name = 1, .body_bytes = -1, .seconds = 10, .path = "/"};

static __attribute__((noreturn)) void usage(const char *why, const char *what) {
  fprintf(stderr, "loadgen: %s%s%s\n", why, what ? ": " : "", what ? what : "");
  exit(2);
}

/* ---- what was measured ---- */

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct samples { /* durations in units of 10 ns */
  uint32_t *v;
  size_t n, cap;
};
static struct samples s_latency, s_ttfb, s_connect, s_tls, s_setup, s_first;

static void sample(struct samples *s, uint64_t ns) {
  if (s->n == s->cap) {
    s->cap = s->cap ? s->cap * 2 : 65536;
    s->v = realloc(s->v, s->cap * sizeof *s->v);
    if (!s->v) abort();
  }
  uint64_t u = ns / 10;
  s->v[s->n++] = u > UINT32_MAX ? UINT32_MAX : (uint32_t)u;
}

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static double percentile(const struct samples *s, double p) { /* µs */
  return s->v[(size_t)(p * (double)(s->n - 1) + .5)] / 100.0;
}

static void print_samples(const char *key, struct samples *s) {
  if (!s->n) return;
  qsort(s->v, s->n, sizeof *s->v, by_value);
  printf(",\"%s\":{\"n\":%zu,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f}", key, s->n, percentile(s, .5),
         percentile(s, .9), percentile(s, .99), percentile(s, 1));
}

static double own_cpu(void) {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

/* CPU seconds of a process group, children that have ended included (proc(5): stat, fields 5 and 14 to 17). */
static double group_cpu(pid_t group) {
  if (!group) return 0;
  DIR *proc = opendir("/proc");
  if (!proc) return 0;
  unsigned long long ticks = 0;
  for (struct dirent *e; (e = readdir(proc));) {
    if (e->d_name[0] < '1' || e->d_name[0] > '9') continue;
    char path[300], text[1024];
    snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
    FILE *f = fopen(path, "r");
    if (!f) continue;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    const char *rest = strrchr(text, ')'); /* the name before it may hold anything */
    int pgrp;
    unsigned long long u, s, cu, cs;
    if (rest && sscanf(rest + 1, " %*c %*d %d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &pgrp, &u, &s, &cu, &cs) == 5 && pgrp == group)
      ticks += u + s + cu + cs;
  }
  closedir(proc);
  return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static long ok, bad, errors, tunnels, resumed, closed_by_peer, started, last_status;
static uint64_t body_bytes;
static char last_error[400], cipher[64];
static int measuring, stopping;
static volatile sig_atomic_t interrupted;

static void interrupt(int number) {
  (void)number;
  interrupted = 1;
}
static int held, failed, opened, dropped, again; /* idle mode */
static long again_done, again_ok;

/* ---- connections ---- */

static SSL_CTX *ctx;
static SSL_SESSION *sessions[MAX_NAMES + 1];
static struct conn *conns;
static int epoll_fd, next_name;
static char buf[262144];

static int keep_session(SSL *ssl, SSL_SESSION *session) {
  struct conn *c = SSL_get_app_data(ssl);
  if (sessions[c->name]) SSL_SESSION_free(sessions[c->name]);
  sessions[c->name] = session;
  return 1;
}

static void end_connection(struct conn *c, int orderly) {
  if (c->ssl) {
    if (orderly) SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    c->ssl = NULL;
  }
  ERR_clear_error();
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
  c->state = FREE;
}

static void fail(struct conn *c, const char *why) {
  unsigned long e = ERR_peek_last_error();
  const char *tls = e ? ERR_reason_error_string(e) : NULL;
  snprintf(last_error, sizeof last_error, "%s (%s), host %s, errno %s, tls %s", why, STATE[c->state], c->host, strerror(errno), tls ? tls : "-");
  for (char *p = last_error; *p; p++)
    if (*p == '"' || *p == '\\' || (unsigned char)*p < 32) *p = '\'';
  errors++;
  if (opt.idle) failed++;
  end_connection(c, 0);
}

static int exhausted(void) {
  return stopping || (opt.requests && started >= opt.requests) || (opt.names && next_name >= opt.first_name + opt.names) || errors >= MAX_ERRORS;
}

static void start(struct conn *c) {
  if (exhausted()) return;
  c->name = opt.names ? next_name++ : 0;
  if (opt.names) snprintf(c->host, sizeof c->host, opt.host, c->name);
  else snprintf(c->host, sizeof c->host, "%s", opt.host);
  c->state = TCP;
  c->t_start = now();
  c->requests = 0;
  c->t_due = 0;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (c->fd < 0) return fail(c, "socket");
  int one = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(c->fd, (struct sockaddr *)&opt.to, sizeof opt.to) < 0 && errno != EINPROGRESS) return fail(c, "connect");
  struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &ev);
}

static void set_connect(struct conn *c) {
  c->out_len = snprintf(c->out, sizeof c->out, "CONNECT %s:%s HTTP/1.1\r\nHost: %s:%s\r\n%s%s\r\n", c->host, opt.port, c->host, opt.port,
                        opt.connect_header, *opt.connect_header ? "\r\n" : "");
  c->out_off = 0;
  c->state = CONNECT_SEND;
}

static void set_request(struct conn *c) {
  int default_port = !strcmp(opt.port, "443");
  c->out_len = snprintf(c->out, sizeof c->out, "GET %s HTTP/1.1\r\nHost: %s%s%s\r\nUser-Agent: loadgen\r\nAccept: */*\r\n%s%s\r\n", opt.path, c->host,
                        default_port ? "" : ":", default_port ? "" : opt.port, opt.header, *opt.header ? "\r\n" : "");
  c->out_off = c->head_len = c->in_body = 0;
  c->t_request = now();
  if (opt.pace > 0) { /* counted from when it was due: what a stall holds up is not left out */
    uint64_t step = (uint64_t)(opt.pace * 1e6);
    if (c->t_due) c->t_request = c->t_due;
    c->t_due = c->t_request + step;
  }
  c->t_first = 0;
  c->measured = measuring;
  c->state = REQUEST;
  started++;
}

/* ---- responses ---- */

static int has_token(const char *value, const char *token) {
  const char *found = strcasestr(value, token), *end = strstr(value, "\r\n");
  return found && end && found < end;
}

/* The status, or -1. The head is complete and NUL-terminated. */
static int parse_head(struct conn *c) {
  int status = 0;
  if (sscanf(c->head, "HTTP/1.%*d %d", &status) != 1) return -1;
  c->chunked = c->close_after = c->until_close = c->line_len = 0;
  c->body_left = -1;
  c->body_got = 0;
  c->chunk = CHUNK_SIZE;
  for (const char *l = strstr(c->head, "\r\n"); l && l[2] != '\r' && l[2]; l = strstr(l + 2, "\r\n")) {
    const char *h = l + 2;
    if (!strncasecmp(h, "content-length:", 15)) c->body_left = atol(h + 15);
    else if (!strncasecmp(h, "transfer-encoding:", 18)) c->chunked = has_token(h, "chunked");
    else if (!strncasecmp(h, "connection:", 11)) c->close_after = has_token(h, "close");
  }
  if (c->chunked) c->body_left = 0;
  else if (c->body_left < 0) c->until_close = c->close_after = 1;
  return status;
}

/* Takes body bytes: 1 when the message is complete, 0 when more must come, -1 for bad framing. */
static int take_body(struct conn *c, const char *p, long n) {
  if (!c->chunked) {
    c->body_got += n;
    if (c->until_close) return 0;
    if (n > c->body_left) return -1;
    return (c->body_left -= n) == 0;
  }
  for (long i = 0; i < n;) {
    if (c->chunk == CHUNK_DATA) {
      long k = n - i < c->body_left ? n - i : c->body_left;
      i += k;
      c->body_left -= k;
      c->body_got += k;
      if (!c->body_left) c->chunk = CHUNK_END;
      continue;
    }
    char ch = p[i++];
    if (ch != '\n') {
      if (ch != '\r' && c->line_len < (int)sizeof c->line - 1) c->line[c->line_len++] = ch;
      continue;
    }
    int length = c->line_len;
    c->line[length] = 0;
    c->line_len = 0;
    if (c->chunk == CHUNK_END) {
      if (length) return -1;
      c->chunk = CHUNK_SIZE;
    } else if (c->chunk == TRAILER) {
      if (!length) return i == n ? 1 : -1;
    } else {
      char *end;
      c->body_left = strtol(c->line, &end, 16);
      if (end == c->line || c->body_left < 0) return -1;
      c->chunk = c->body_left ? CHUNK_DATA : TRAILER;
    }
  }
  return 0;
}

static void record(struct conn *c) {
  uint64_t t = now();
  ok++;
  body_bytes += (uint64_t)c->body_got;
  sample(&s_latency, t - c->t_request);
  sample(&s_ttfb, c->t_first - c->t_request);
  if (c->requests > 1) return;
  if (opt.proxied) sample(&s_connect, c->t_tunnel - c->t_tcp);
  sample(&s_tls, c->t_tls - c->t_tunnel);
  sample(&s_setup, c->t_tls - c->t_start);
  sample(&s_first, t - c->t_start);
}

static void finished(struct conn *c) {
  c->requests++;
  if (c->status != 200 || (opt.body_bytes >= 0 && c->body_got != opt.body_bytes)) {
    bad++;
    last_status = c->status;
  } else if (c->measured && measuring) {
    record(c);
  }
  if (again) {
    again_done++;
    again_ok += c->status == 200;
    c->state = IDLE;
  } else if (opt.idle) {
    c->state = IDLE;
    held++;
  } else if (c->close_after || stopping || (opt.requests && started >= opt.requests) || (opt.per_connection && c->requests >= opt.per_connection)) {
    closed_by_peer += c->close_after;
    end_connection(c, 1);
  } else if (c->t_due > now()) {
    c->state = PAUSED;
  } else {
    set_request(c);
  }
}

/* ---- one step per state: 1 to go on, 0 to wait for the next event (or the connection is over) ---- */

static int tls_waits(struct conn *c, int r, const char *why) {
  int e = SSL_get_error(c->ssl, r);
  if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) return 0;
  fail(c, e == SSL_ERROR_ZERO_RETURN || (e == SSL_ERROR_SYSCALL && r == 0) ? "closed by the peer" : why);
  return 0;
}

static int on_tcp(struct conn *c, uint32_t events) {
  if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) return 0;
  int e = 0;
  socklen_t l = sizeof e;
  getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &l);
  if (e) {
    errno = e;
    fail(c, "connect");
    return 0;
  }
  c->t_tcp = c->t_tunnel = now();
  if (opt.proxied) set_connect(c);
  else c->state = HANDSHAKE;
  return 1;
}

static int on_connect_send(struct conn *c) {
  ssize_t n = write(c->fd, c->out + c->out_off, (size_t)(c->out_len - c->out_off));
  if (n < 0) {
    if (errno != EAGAIN) fail(c, "write");
    return 0;
  }
  if ((c->out_off += (int)n) == c->out_len) {
    c->state = CONNECT_REPLY;
    c->head_len = 0;
  }
  return 1;
}

static int on_connect_reply(struct conn *c) {
  ssize_t n = read(c->fd, c->head + c->head_len, (size_t)(HEAD_BYTES - 1 - c->head_len));
  if (n <= 0) {
    if (n == 0 || errno != EAGAIN) fail(c, n ? "read" : "closed by the peer");
    return 0;
  }
  c->head[c->head_len += (int)n] = 0;
  if (!strstr(c->head, "\r\n\r\n")) return 1;
  int status = 0;
  if (sscanf(c->head, "HTTP/1.%*d %d", &status) != 1 || status != 200) {
    last_status = status;
    fail(c, "CONNECT refused");
    return 0;
  }
  c->t_tunnel = now();
  c->state = HANDSHAKE;
  return 1;
}

static int on_handshake(struct conn *c) {
  if (!c->ssl) {
    c->ssl = SSL_new(ctx);
    SSL_set_app_data(c->ssl, c);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_tlsext_host_name(c->ssl, c->host);
    SSL_set1_host(c->ssl, c->host);
    SSL_set_connect_state(c->ssl);
    if (opt.resume && sessions[c->name]) SSL_set_session(c->ssl, sessions[c->name]);
  }
  int r = SSL_do_handshake(c->ssl);
  if (r != 1) return tls_waits(c, r, "handshake");
  c->t_tls = now();
  if (measuring) {
    tunnels++;
    resumed += SSL_session_reused(c->ssl);
  }
  if (!*cipher) snprintf(cipher, sizeof cipher, "%s %s", SSL_get_version(c->ssl), SSL_get_cipher_name(c->ssl));
  set_request(c);
  return 1;
}

static int on_request(struct conn *c) {
  int n = SSL_write(c->ssl, c->out + c->out_off, c->out_len - c->out_off);
  if (n <= 0) return tls_waits(c, n, "write");
  if ((c->out_off += n) == c->out_len) c->state = RESPONSE;
  return 1;
}

/* Adds bytes to the head: those taken, or -1. Sets in_body when the head is complete. */
static long take_head(struct conn *c, const char *p, long n) {
  int before = c->head_len;
  long k = n < HEAD_BYTES - 1 - before ? n : HEAD_BYTES - 1 - before;
  memcpy(c->head + before, p, (size_t)k);
  c->head[c->head_len += (int)k] = 0;
  char *end = memmem(c->head, (size_t)c->head_len, "\r\n\r\n", 4);
  if (!end) return k < n ? -1 : k;
  char keep = end[4];
  end[4] = 0;
  c->status = parse_head(c);
  end[4] = keep;
  c->in_body = 1;
  return c->status < 0 ? -1 : end + 4 - c->head - before;
}

static int on_response(struct conn *c) {
  int n = SSL_read(c->ssl, buf, sizeof buf);
  if (n <= 0) {
    if (c->in_body && c->until_close && SSL_get_error(c->ssl, n) == SSL_ERROR_ZERO_RETURN) {
      finished(c);
      return c->state != FREE;
    }
    return tls_waits(c, n, "read");
  }
  if (!c->t_first) c->t_first = now();
  const char *p = buf;
  long left = n;
  int complete = 0;
  if (!c->in_body) {
    long k = take_head(c, p, left);
    if (k < 0) {
      fail(c, "bad response head");
      return 0;
    }
    p += k;
    left -= k;
    complete = c->in_body && !c->chunked && c->body_left == 0 && !left;
  }
  if (left && (complete = take_body(c, p, left)) < 0) {
    fail(c, "bad body framing");
    return 0;
  }
  if (complete) finished(c);
  return c->state != FREE;
}

static int on_idle(struct conn *c) {
  if (c->state == PAUSED && c->t_due <= now()) {
    set_request(c);
    return 1;
  }
  int n = SSL_read(c->ssl, buf, sizeof buf);
  int e = n > 0 ? SSL_ERROR_NONE : SSL_get_error(c->ssl, n);
  if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) return 0;
  if (c->state == PAUSED) {
    fail(c, "closed by the peer");
    return 0;
  }
  dropped++;
  held--;
  end_connection(c, 0);
  return 0;
}

static void drive(struct conn *c, uint32_t events) {
  for (int more = 1; more;) switch (c->state) {
      case FREE: return;
      case TCP: more = on_tcp(c, events); break;
      case CONNECT_SEND: more = on_connect_send(c); break;
      case CONNECT_REPLY: more = on_connect_reply(c); break;
      case HANDSHAKE: more = on_handshake(c); break;
      case REQUEST: more = on_request(c); break;
      case RESPONSE: more = on_response(c); break;
      case IDLE: case PAUSED: more = on_idle(c); break;
    }
}

static void poll_once(double ms) {
  struct epoll_event events[256];
  struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms * 1e6) % 1000000000};
  int n = epoll_pwait2(epoll_fd, events, 256, &t, NULL);
  for (int i = 0; i < n; i++) drive(events[i].data.ptr, events[i].events);
}

/* ---- command line ---- */

static void set_address(const char *text) {
  char host[64];
  const char *colon = strrchr(text, ':');
  if (!colon) usage("an address is ip:port", text);
  snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
  opt.to.sin_family = AF_INET;
  opt.to.sin_port = htons((uint16_t)atoi(colon + 1));
  if (inet_pton(AF_INET, host, &opt.to.sin_addr) != 1) usage("an address is an IPv4 literal", text);
  if (ntohl(opt.to.sin_addr.s_addr) >> 24 != 127) usage("only loopback may be loaded", text);
}

static void set_target(const char *text) {
  const char *colon = strrchr(text, ':');
  if (!colon) usage("a target is host:port", text);
  snprintf(opt.host, sizeof opt.host, "%.*s", (int)(colon - text), text);
  snprintf(opt.port, sizeof opt.port, "%s", colon + 1);
}

static double number(const char *text, double least, double most) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end || !(value >= least && value <= most)) usage("not a number in bounds", text);
  return value;
}

static void set_text(char *to, size_t size, const char *text) {
  if (strlen(text) >= size) usage("too long", text);
  strcpy(to, text);
}

static void parse(int argc, char **argv, const char **ca) {
  int o, addressed = 0;
  while ((o = getopt(argc, argv, "x:A:t:r:o:p:c:k:n:d:w:H:C:l:V:sP:i:g:")) != -1) switch (o) {
      case 'x': case 'A': set_address(optarg); opt.proxied = o == 'x'; addressed++; break;
      case 't': set_target(optarg); break;
      case 'r': opt.names = (int)number(optarg, 1, MAX_NAMES); break;
      case 'o': opt.first_name = (int)number(optarg, 1, MAX_NAMES); break;
      case 'p': set_text(opt.path, sizeof opt.path, optarg); break;
      case 'c': opt.connections = (int)number(optarg, 1, MAX_CONNECTIONS); break;
      case 'k': opt.per_connection = (long)number(optarg, 0, MAX_REQUESTS); break;
      case 'n': opt.requests = (long)number(optarg, 1, MAX_REQUESTS); break;
      case 'd': opt.seconds = number(optarg, 0, MAX_SECONDS); break;
      case 'w': opt.warmup = number(optarg, 0, MAX_SECONDS); break;
      case 'H': set_text(opt.header, sizeof opt.header, optarg); break;
      case 'C': set_text(opt.connect_header, sizeof opt.connect_header, optarg); break;
      case 'l': opt.body_bytes = (long)number(optarg, 0, 1e12); break;
      case 'V': *ca = optarg; break;
      case 's': opt.resume = 1; break;
      case 'g': opt.pace = number(optarg, 0.05, 1000); break;
      case 'P': opt.group = (pid_t)number(optarg, 1, 1e9); break;
      case 'i': opt.hold = number(optarg, 0, MAX_SECONDS); opt.idle = 1; break;
      default: usage("unknown option; the head of loadgen.c lists them", NULL);
    }
  if (addressed != 1 || !*opt.host) usage("needs -t and one of -x and -A", NULL);
  if (opt.names && (!strstr(opt.host, "%d") || strchr(opt.host, '%') != strrchr(opt.host, '%'))) usage("-r needs one %d in the host", opt.host);
  if (opt.names && opt.first_name + opt.names > MAX_NAMES + 1) usage("names beyond the last", NULL);
}

static void set_up_tls(const char *ca) {
  static const unsigned char alpn[] = "\x08http/1.1";
  ctx = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_protos(ctx, alpn, sizeof alpn - 1);
  SSL_CTX_set_read_ahead(ctx, 1);
  if (ca && SSL_CTX_load_verify_locations(ctx, ca, NULL) != 1) usage("cannot read the CA", ca);
  SSL_CTX_set_verify(ctx, ca ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
  if (opt.resume) {
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(ctx, keep_session);
  }
}

/* ---- the run ---- */

static double window_start, window_seconds, window_cpu, window_own_cpu; /* s */

static double seconds_now(void) { return (double)now() / 1e9; }

static void open_window(void) {
  measuring = 1;
  window_cpu = group_cpu(opt.group);
  window_own_cpu = own_cpu();
  window_start = seconds_now();
}

static void close_window(void) {
  stopping = 1;
  window_seconds = seconds_now() - window_start;
  window_own_cpu = own_cpu() - window_own_cpu;
  window_cpu = group_cpu(opt.group) - window_cpu;
}

/* ms until the first paused connection has its turn. */
static double until_due(void) {
  double least = 100;
  uint64_t t = now();
  for (int i = 0; i < opt.connections; i++) {
    if (conns[i].state != PAUSED) continue;
    double ms = conns[i].t_due > t ? (double)(conns[i].t_due - t) / 1e6 : 0;
    if (ms < least) least = ms;
  }
  return least;
}

static void run_load(void) {
  double begin = seconds_now();
  if (opt.warmup <= 0) open_window();
  for (;;) {
    int alive = 0;
    for (int i = 0; i < opt.connections; i++) {
      if (conns[i].state == FREE) start(&conns[i]);
      if (conns[i].state == PAUSED) drive(&conns[i], 0);
      alive += conns[i].state != FREE;
    }
    if (!alive && exhausted()) break;
    poll_once(opt.pace > 0 ? until_due() : 100);
    if (!measuring && seconds_now() - begin >= opt.warmup) open_window();
    if (interrupted || (measuring && seconds_now() - window_start >= opt.seconds)) break;
  }
  if (!measuring) open_window();
  close_window();
}

static void open_tunnels(void) {
  open_window();
  while (held + failed + dropped < opt.connections && seconds_now() - window_start < opt.seconds) {
    while (opened < opt.connections && opened - held - failed - dropped < AT_ONCE) start(&conns[opened++]);
    poll_once(100);
  }
  close_window();
}

static void hold_tunnels(void) {
  printf("{\"held\":%d,\"failed\":%d,\"open_seconds\":%.2f,\"last_error\":\"%s\"}\n", held, failed, window_seconds, last_error);
  fflush(stdout);
  double until = seconds_now() + opt.hold;
  struct pollfd in = {.fd = 0, .events = POLLIN};
  while (seconds_now() < until) {
    poll_once(50);
    char ignored[64];
    if (poll(&in, 1, 0) > 0 && read(0, ignored, sizeof ignored) <= 0) break;
  }
}

/* Each held tunnel carries one more request: one that was only forgotten, not closed, is found out. */
static void use_tunnels_again(void) {
  again = 1;
  stopping = 0;
  double until = seconds_now() + AGAIN_SECONDS;
  long sent = 0, before = errors;
  for (int next = 0; seconds_now() < until;) {
    for (; next < opt.connections && sent - again_done - (errors - before) < AT_ONCE; next++) {
      if (conns[next].state != IDLE) continue;
      sent++;
      set_request(&conns[next]);
      drive(&conns[next], 0);
    }
    if (next == opt.connections && again_done + (errors - before) >= sent) break;
    poll_once(100);
  }
}

static void report(void) {
  printf("{\"ok\":%ld,\"bad\":%ld,\"errors\":%ld,\"seconds\":%.3f,\"rps\":%.1f,\"mb_per_s\":%.1f", ok, bad, errors, window_seconds,
         (double)ok / window_seconds, (double)body_bytes / window_seconds / 1e6);
  printf(",\"tunnels\":%ld,\"tunnels_per_s\":%.1f,\"resumed\":%ld,\"closed_by_peer\":%ld,\"dropped\":%d,\"again\":%ld", tunnels,
         (double)tunnels / window_seconds, resumed, closed_by_peer, dropped, again_ok);
  printf(",\"loadgen_cpu\":%.3f,\"proxy_cpu\":%.3f,\"cipher\":\"%s\",\"last_status\":%ld,\"last_error\":\"%s\"", window_own_cpu, window_cpu, cipher,
         last_status, last_error);
  print_samples("latency_us", &s_latency);
  print_samples("ttfb_us", &s_ttfb);
  print_samples("connect_us", &s_connect);
  print_samples("tls_us", &s_tls);
  print_samples("setup_us", &s_setup);
  print_samples("first_us", &s_first);
  puts("}");
}

int main(int argc, char **argv) {
  const char *ca = NULL;
  signal(SIGPIPE, SIG_IGN);
  signal(SIGINT, interrupt);
  parse(argc, argv, &ca);
  set_up_tls(ca);
  next_name = opt.first_name;
  epoll_fd = epoll_create1(0);
  conns = calloc((size_t)opt.connections, sizeof *conns);
  if (!conns || epoll_fd < 0) abort();
  for (int i = 0; i < opt.connections; i++) conns[i].fd = -1;
  if (opt.idle) {
    open_tunnels();
    hold_tunnels();
    use_tunnels_again();
  } else {
    run_load();
  }
  report();
  return 0;
}
