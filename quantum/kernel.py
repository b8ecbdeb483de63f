"""The compiled kernel's source, in C: a plan interpreted over vectors of 64 bytes, forwards and backwards.

A state is a sequence of vectors of complex numbers. The lanes of a vector are either as many rows of the batch, or the
lowest qubits of one row. Links move nothing: a stored index s stands for the basis state b = A·s ⊕ c over bits, so a
mux on qubit t pairs s with s ⊕ v (column t of A⁻¹), and bit t of b is the parity of s & w (row t of A). Where v has
lane bits the partner is a shuffle of the vector.

Backward computes each step's input from its output, by the inverse: in cache that is cheaper than keeping it.
With λ = ∂L/∂Re ψ + i ∂L/∂Im ψ of the output: ∂L/∂M = λ ψ_in†, λ_in = M† λ, and for a phase ∂L/∂φ = Im(λ ψ*).
"""

SOURCE = r"""
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 64 / sizeof(real) };
typedef real V __attribute__((vector_size(64)));
typedef INTEGER I __attribute__((vector_size(64)));
typedef struct { V re, im; } C;
typedef struct { double re, im; } Z;

/* One step. A mux: pair mask, parity masks of target and control, each as index of the vector and lane, and constants.
   A diagonal: where its masks and its map of stored to basis states begin. `at` counts muxes, or slots, of its kind. */
typedef struct {
    int32_t kind, of_row, at, real_only;
    int32_t pair, pair_lane, target, target_lane, target_flip;
    int32_t controlled, control, control_lane, control_flip;
    int32_t masks, n_masks, map;
} Op;

typedef struct {
    int32_t n_qubits, n_ops, lanes_are_rows, n_rows, beats[2], muxes[2], slots[2];
    int32_t from_product, product_of_row, product_beats;
    const Op *ops;
    const int32_t *masks, *maps;
} Program;

static V splat(double x) { return (V){0} + (real)x; }
static double total(V x) { double sum = 0; for (int l = 0; l < LANES; l++) sum += x[l]; return sum; }
static int parity(int x) { return __builtin_parity(x); }
static Z zmul(Z a, Z b) { return (Z){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
static Z conjugate(Z a) { return (Z){a.re, -a.im}; }
static Z zadd(Z a, Z b) { return (Z){a.re + b.re, a.im + b.im}; }

static inline V swapped(V x, I at) {
#if defined(__clang__)
    V y; for (int l = 0; l < LANES; l++) y[l] = x[at[l]]; return y;
#else
    return __builtin_shuffle(x, at);
#endif
}

static void *buffer(size_t bytes) {
    void *found = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!found) abort();
    return found;
}

/* --- muxes as numbers: beat k is R = diag(e^{i phi}) RY(turn), a mux is R_S ... R_1 for each value of its control */

static void beat(const double *v, int control, Z r[2][2]) {
    double c = cos(v[control] / 2), s = sin(v[control] / 2);
    for (int a = 0; a < 2; a++) {
        double phi = v[2 + 2 * control + a], x = cos(phi), y = sin(phi), low = a ? s : c, high = a ? c : -s;
        r[a][0] = (Z){x * low, y * low};
        r[a][1] = (Z){x * high, y * high};
    }
}

static void times(Z a[2][2], Z b[2][2], Z done[2][2]) {
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) done[i][j] = zadd(zmul(a[i][0], b[0][j]), zmul(a[i][1], b[1][j]));
}

static void adjoint(Z a[2][2], Z done[2][2]) {
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) done[i][j] = conjugate(a[j][i]);
}

static void matrix(const double *v, int beats, int control, Z m[4]) {
    Z product[2][2], r[2][2], next[2][2];
    beat(v, control, product);
    for (int k = 1; k < beats; k++) {
        beat(v + 6 * k, control, r);
        times(r, product, next);
        memcpy(product, next, sizeof next);
    }
    memcpy(m, product, sizeof product);
}

static void matrices(const double *v, int muxes, int beats, Z *m) {
    for (int k = 0; k < muxes; k++)
        for (int control = 0; control < 2; control++)
            matrix(v + (size_t)k * beats * 6, beats, control, m + 8 * k + 4 * control);
}

/* from dL/dM to dL/dv */
static void matrix_slopes(const double *v, int beats, int controlled, const Z dm[8], double *dv) {
    for (int control = 0; control <= controlled; control++) {
        Z before[beats][2][2], r[beats][2][2], d[2][2], dr[2][2], turned[2][2];
        for (int k = 0; k < beats; k++) {
            beat(v + 6 * k, control, r[k]);
            if (k) times(r[k - 1], before[k - 1], before[k]);
            else { memset(before[0], 0, sizeof before[0]); before[0][0][0].re = before[0][1][1].re = 1; }
        }
        memcpy(d, dm + 4 * control, sizeof d);
        for (int k = beats - 1; k >= 0; k--) {
            adjoint(before[k], turned);
            times(d, turned, dr);
            const double *w = v + 6 * k;
            double c = cos(w[control] / 2) / 2, s = sin(w[control] / 2) / 2;
            for (int a = 0; a < 2; a++) {
                double phi = w[2 + 2 * control + a], x = cos(phi), y = sin(phi), slope = 0;
                for (int b = 0; b < 2; b++) {
                    slope += dr[a][b].im * r[k][a][b].re - dr[a][b].re * r[k][a][b].im;
                    double turn = a ? (b ? -s : c) : (b ? -c : -s);
                    dv[6 * k + control] += turn * (dr[a][b].re * x + dr[a][b].im * y);
                }
                dv[6 * k + 2 + 2 * control + a] += slope;
            }
            adjoint(r[k], turned);
            times(turned, d, dr);
            memcpy(d, dr, sizeof d);
        }
    }
}

/* --- what a group of lanes needs: matrices of rows, one for each lane, and tables of diagonals */

typedef struct {
    const Program *p;
    int first, lanes;          /* rows of this group: LANES of them, or one */
    const Z *shared;           /* [mux][8] */
    Z *of_row;                 /* [lane][mux][8] */
    C **tables;                /* of each op that is a diagonal */
    const Z *columns;          /* [row, or one for all][qubit][2], of the product state */
} Group;

static int vectors(const Program *p) { return p->lanes_are_rows ? 1 << p->n_qubits : (1 << p->n_qubits) / LANES; }

static void entries(const Group *g, const Op *op, int inverse, C m[8]) {
    for (int e = 0; e < 8; e++) {
        int from = inverse ? (e & 4) | (e & 1) << 1 | (e & 2) >> 1 : e;
        double sign = inverse ? -1 : 1;
        if (!op->of_row || g->lanes == 1) {
            Z z = op->of_row ? g->of_row[8 * op->at + from] : g->shared[8 * op->at + from];
            m[e] = (C){splat(z.re), splat(sign * z.im)};
        } else
            for (int l = 0; l < LANES; l++) {
                Z z = g->of_row[8 * ((size_t)l * g->p->muxes[1] + op->at) + from];
                m[e].re[l] = z.re;
                m[e].im[l] = sign * z.im;
            }
    }
}

/* psi'(s) = own[c] psi(s) + other[c] psi(s ^ v), c = 2 * (bit of the control) + (bit of the target), lanes apart */
static void coefficients(const Op *op, const C m[8], C own[4], C other[4]) {
    for (int c = 0; c < 4; c++) {
        if (!op->target_lane && !op->control_lane) {
            own[c] = m[4 * (c >> 1) + 3 * (c & 1)];
            other[c] = m[4 * (c >> 1) + 1 + (c & 1)];
            continue;
        }
        for (int l = 0; l < LANES; l++) {
            int a = (c & 1) ^ parity(l & op->target_lane), k = (c >> 1) ^ parity(l & op->control_lane);
            own[c].re[l] = m[4 * k + 3 * a].re[l];
            own[c].im[l] = m[4 * k + 3 * a].im[l];
            other[c].re[l] = m[4 * k + 1 + a].re[l];
            other[c].im[l] = m[4 * k + 1 + a].im[l];
        }
    }
}

static inline int which(const Op *op, int h) {
    return (parity(h & op->target) ^ op->target_flip) | (parity(h & op->control) ^ op->control_flip) << 1;
}

#define INLINE static inline __attribute__((always_inline))

INLINE C mixed(const C *own, const C *other, C x, C y, const int real_only) {
    if (real_only) return (C){own->re * x.re + other->re * y.re, own->re * x.im + other->re * y.im};
    return (C){own->re * x.re - own->im * x.im + other->re * y.re - other->im * y.im,
               own->re * x.im + own->im * x.re + other->re * y.im + other->im * y.re};
}

INLINE C shuffled(C x, I at, const int lanes) { return lanes ? (C){swapped(x.re, at), swapped(x.im, at)} : x; }

INLINE void forward_pairs(const Op *op, const C *own, const C *other, C *s, int size, I at, const int real_only,
                          const int lanes) {
    if (!op->pair) {
        for (int h = 0; h < size; h++) {
            int i = which(op, h);
            s[h] = mixed(own + i, other + i, s[h], shuffled(s[h], at, 1), real_only);
        }
        return;
    }
    int top = 1 << (31 - __builtin_clz(op->pair));
    for (int base = 0; base < size; base += 2 * top)
        for (int h = base; h < base + top; h++) {
            int g = h ^ op->pair, i = which(op, h), j = which(op, g);
            C x = s[h], y = s[g];
            s[h] = mixed(own + i, other + i, x, shuffled(y, at, lanes), real_only);
            s[g] = mixed(own + j, other + j, y, shuffled(x, at, lanes), real_only);
        }
}

INLINE void gathered(C *own, C *other, C g, C x, C y) {
    own->re += g.re * x.re + g.im * x.im;
    own->im += g.im * x.re - g.re * x.im;
    other->re += g.re * y.re + g.im * y.im;
    other->im += g.im * y.re - g.re * y.im;
}

/* the inverse on psi and lambda; sums of lambda psi* for each c, or for a turn of Re(lambda* psi of the partner) */
INLINE void backward_pairs(const Op *op, const C *own, const C *other, C *s, C *t, int size, I at, C *sum_own,
                           C *sum_other, const int real_only, const int lanes) {
    int top = op->pair ? 1 << (31 - __builtin_clz(op->pair)) : 1, two = op->pair != 0;
    for (int base = 0; base < size; base += two ? 2 * top : 1)
        for (int h = base; h < base + (two ? top : 1); h++) {
            int g = h ^ op->pair, i = which(op, h), j = which(op, g);
            C x = s[h], y = s[g], l = t[h], r = t[g];
            C xp = shuffled(x, at, lanes), yp = two ? shuffled(y, at, lanes) : xp;
            C lp = shuffled(l, at, lanes), rp = two ? shuffled(r, at, lanes) : lp;
            if (real_only) {
                sum_own[i].re += l.re * yp.re + l.im * yp.im;
                if (two) sum_own[j].re += r.re * xp.re + r.im * xp.im;
            }
            s[h] = mixed(own + i, other + i, x, yp, real_only);
            t[h] = mixed(own + i, other + i, l, rp, real_only);
            if (two) {
                s[g] = mixed(own + j, other + j, y, xp, real_only);
                t[g] = mixed(own + j, other + j, r, lp, real_only);
            }
            if (!real_only) {
                C in = s[h], partner = two ? s[g] : in;
                gathered(sum_own + i, sum_other + i, l, in, shuffled(partner, at, lanes));
                if (two) gathered(sum_own + j, sum_other + j, r, partner, shuffled(in, at, lanes));
            }
        }
}

static I partner_lanes(const Op *op) {
    I at = {0};
    for (int l = 0; l < LANES; l++) at[l] = l ^ op->pair_lane;
    return at;
}

static void mux(const Group *g, const Op *op, C *s) {
    C m[8], own[4], other[4];
    entries(g, op, 0, m);
    coefficients(op, m, own, other);
    I at = partner_lanes(op);
    int size = vectors(g->p);
    if (op->pair_lane) {
        if (op->real_only) forward_pairs(op, own, other, s, size, at, 1, 1);
        else forward_pairs(op, own, other, s, size, at, 0, 1);
    } else {
        if (op->real_only) forward_pairs(op, own, other, s, size, at, 1, 0);
        else forward_pairs(op, own, other, s, size, at, 0, 0);
    }
}

static void unmux(const Group *g, const Op *op, C *s, C *t, Z *d_shared, Z *d_row) {
    C m[8], own[4], other[4], sum_own[4], sum_other[4];
    entries(g, op, 1, m);
    coefficients(op, m, own, other);
    I at = partner_lanes(op);
    int size = vectors(g->p), rows = g->lanes > 1;
    memset(sum_own, 0, sizeof sum_own);
    memset(sum_other, 0, sizeof sum_other);
    if (op->pair_lane) {
        if (op->real_only) backward_pairs(op, own, other, s, t, size, at, sum_own, sum_other, 1, 1);
        else backward_pairs(op, own, other, s, t, size, at, sum_own, sum_other, 0, 1);
    } else {
        if (op->real_only) backward_pairs(op, own, other, s, t, size, at, sum_own, sum_other, 1, 0);
        else backward_pairs(op, own, other, s, t, size, at, sum_own, sum_other, 0, 0);
    }
    for (int c = 0; c < 4; c++) /* of a turn alone entry 4k holds its slope */
        for (int l = 0; l < LANES; l++) {
            int a = (c & 1) ^ parity(l & op->target_lane), k = (c >> 1) ^ parity(l & op->control_lane);
            Z *d = op->of_row ? d_row + 8 * ((rows ? (size_t)l * g->p->muxes[1] : 0) + op->at) : d_shared + 8 * op->at;
            if (op->real_only) {
                d[4 * k].re += (a ? 0.5 : -0.5) * sum_own[c].re[l];
                continue;
            }
            d[4 * k + 3 * a].re += sum_own[c].re[l];
            d[4 * k + 3 * a].im += sum_own[c].im[l];
            d[4 * k + 1 + a].re += sum_other[c].re[l];
            d[4 * k + 1 + a].im += sum_other[c].im[l];
        }
}

/* --- diagonals: phi(b) = sum of v over masks that b holds, by doubling; table[s] = e^{i phi(b(s))} */

static void phases(const Program *p, const Op *op, const double *v, double *phi) {
    int size = 1 << p->n_qubits;
    memset(phi, 0, size * sizeof *phi);
    for (int k = 0; k < op->n_masks; k++) phi[p->masks[op->masks + k]] += v[op->at + k];
    for (int bit = 1; bit < size; bit *= 2)
        for (int base = 0; base < size; base += 2 * bit)
            for (int b = base; b < base + bit; b++) phi[b + bit] += phi[b];
}

static void phase_slopes(const Program *p, const Op *op, double *g, double *dv) {
    int size = 1 << p->n_qubits;
    for (int bit = 1; bit < size; bit *= 2)
        for (int base = 0; base < size; base += 2 * bit)
            for (int b = base; b < base + bit; b++) g[b] += g[b + bit];
    for (int k = 0; k < op->n_masks; k++) dv[op->at + k] += g[p->masks[op->masks + k]];
}

/* cosines then sines, `size` of each, of the stored order */
static void cis(const Program *p, const Op *op, const double *phi, double *ordered, double *table) {
    int size = 1 << p->n_qubits;
    const int32_t *map = p->maps + op->map;
    for (int s = 0; s < size; s++) ordered[s] = phi[map[s]];
    for (int s = 0; s < size; s++) table[s] = cos(ordered[s]);
    for (int s = 0; s < size; s++) table[size + s] = sin(ordered[s]);
}

/* one table a diagonal: vectors, or for rows as lanes and phases that all rows share, pairs of numbers */
static C *table_of(const Program *p, const Op *op, const double *v, size_t stride, int lanes) {
    int size = 1 << p->n_qubits, spread = p->lanes_are_rows && op->of_row;
    double *phi = buffer(4 * size * sizeof *phi), *one = phi + 2 * size;
    real *table = buffer((size_t)(spread ? size * LANES : size) * 2 * sizeof *table);
    for (int l = 0; l < (spread ? LANES : 1); l++) {
        phases(p, op, v + (l < lanes ? l : 0) * stride, phi);
        cis(p, op, phi, phi + size, one);
        for (int s = 0; s < size; s++) {
            if (spread) {
                table[(size_t)s * 2 * LANES + l] = one[s];
                table[((size_t)s * 2 + 1) * LANES + l] = one[size + s];
            } else if (p->lanes_are_rows) {
                table[2 * s] = one[s];
                table[2 * s + 1] = one[size + s];
            } else {
                table[s / LANES * 2 * LANES + s % LANES] = one[s];
                table[(s / LANES * 2 + 1) * LANES + s % LANES] = one[size + s];
            }
        }
    }
    free(phi);
    return (C *)table;
}

INLINE C factor(const C *table, int h, const int scalar) {
    if (!scalar) return table[h];
    const real *pair = (const real *)table + 2 * h;
    return (C){(V){0} + pair[0], (V){0} + pair[1]};
}

INLINE void turn_all(const C *table, C *s, int size, const int scalar) {
    for (int h = 0; h < size; h++) {
        C e = factor(table, h, scalar), x = s[h];
        s[h] = (C){x.re * e.re - x.im * e.im, x.re * e.im + x.im * e.re};
    }
}

/* back through a diagonal; sums[h] gains Im(lambda psi*) */
INLINE void unturn_all(const C *table, C *s, C *t, int size, V *sums, const int scalar) {
    for (int h = 0; h < size; h++) {
        C e = factor(table, h, scalar), x = s[h], l = t[h];
        sums[h] += l.im * x.re - l.re * x.im;
        s[h] = (C){x.re * e.re + x.im * e.im, x.im * e.re - x.re * e.im};
        t[h] = (C){l.re * e.re + l.im * e.im, l.im * e.re - l.re * e.im};
    }
}

/* --- product states: qubit q's column is its amplitudes of 0 and 1; vectors hold lanes first */

static size_t column_at(const Program *p, int row, int qubit) {
    return 2 * ((size_t)(p->product_of_row ? row : 0) * p->n_qubits + qubit);
}

static C column(const Group *g, int qubit, int bit) {
    const Program *p = g->p;
    C found = {0};
    for (int l = 0; l < LANES; l++) {
        int row = g->first + (p->lanes_are_rows && g->first + l < p->n_rows ? l : 0);
        Z z = g->columns[column_at(p, row, qubit) + bit];
        found.re[l] = z.re;
        found.im[l] = z.im;
    }
    return found;
}

INLINE C cmul(C a, C b) { return (C){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
INLINE C cmul_conj(C a, C b) { return (C){a.re * b.re + a.im * b.im, a.im * b.re - a.re * b.im}; }

static int lane_qubits(const Program *p) { return p->lanes_are_rows ? 0 : 31 - __builtin_clz(LANES); }

/* the product over lane qubits, as one vector */
static C lane_product(const Group *g) {
    C found = {splat(1), splat(0)};
    for (int q = 0; q < lane_qubits(g->p); q++) {
        C low = column(g, q, 0), high = column(g, q, 1), c = {0};
        for (int l = 0; l < LANES; l++) {
            c.re[l] = (l >> q & 1 ? high : low).re[l];
            c.im[l] = (l >> q & 1 ? high : low).im[l];
        }
        found = cmul(found, c);
    }
    return found;
}

static void product(const Group *g, C *s) {
    int lanes = lane_qubits(g->p);
    s[0] = lane_product(g);
    for (int q = lanes; q < g->p->n_qubits; q++) {
        C low = column(g, q, 0), high = column(g, q, 1);
        int size = 1 << (q - lanes);
        for (int h = 0; h < size; h++) {
            s[h + size] = cmul(s[h], high);
            s[h] = cmul(s[h], low);
        }
    }
}

static void keep(const Group *g, Z *d, int qubit, int bit, C sum) {
    const Program *p = g->p;
    for (int l = 0; l < LANES; l++) {
        int row = g->first + (p->lanes_are_rows ? l : 0);
        if (row >= p->n_rows) break;
        Z *to = d + column_at(p, row, qubit) + bit;
        to->re += sum.re[l];
        to->im += sum.im[l];
    }
}

/* t is lambda of the product state, s room for as many vectors; the top qubit is split off again and again */
static void unproduct(const Group *g, C *s, C *t, Z *d) {
    int lanes = lane_qubits(g->p);
    for (int q = g->p->n_qubits - 1; q >= lanes; q--) {
        C low = column(g, q, 0), high = column(g, q, 1), d_low = {0}, d_high = {0};
        int size = 1 << (q - lanes);
        s[0] = lane_product(g);
        for (int r = lanes; r < q; r++) {
            C zero = column(g, r, 0), one = column(g, r, 1);
            for (int h = 0; h < 1 << (r - lanes); h++) {
                s[h + (1 << (r - lanes))] = cmul(s[h], one);
                s[h] = cmul(s[h], zero);
            }
        }
        for (int h = 0; h < size; h++) {
            C a = cmul_conj(t[h], s[h]), b = cmul_conj(t[h + size], s[h]);
            C c = cmul_conj(t[h], low), e = cmul_conj(t[h + size], high);
            d_low = (C){d_low.re + a.re, d_low.im + a.im};
            d_high = (C){d_high.re + b.re, d_high.im + b.im};
            t[h] = (C){c.re + e.re, c.im + e.im};
        }
        keep(g, d, q, 0, d_low);
        keep(g, d, q, 1, d_high);
    }
    for (int q = 0; q < lanes; q++) { /* t[0] is lambda of the lanes' product */
        for (int bit = 0; bit < 2; bit++) {
            C rest = {splat(1), splat(0)}, sum;
            for (int r = 0; r < lanes; r++) {
                C c[2] = {column(g, r, 0), column(g, r, 1)}, chosen = {0};
                for (int l = 0; l < LANES; l++) {
                    chosen.re[l] = r == q ? (l >> q & 1) == bit : c[l >> r & 1].re[l];
                    chosen.im[l] = r == q ? 0 : c[l >> r & 1].im[l];
                }
                rest = cmul(rest, chosen);
            }
            sum = cmul_conj(t[0], rest);
            keep(g, d, q, bit, sum);
        }
    }
}

/* --- a batch */

typedef struct { Group g; Z *shared, *columns; C **shared_tables; } Batch;

static size_t columns_of(const Program *p) {
    return p->from_product ? (size_t)(p->product_of_row ? p->n_rows : 1) * p->n_qubits : 0;
}

static void open_batch(Batch *b, const Program *p, const double *v_product, const double *v_shared) {
    b->columns = buffer((columns_of(p) + 1) * 2 * sizeof(Z));
    for (size_t k = 0; k < columns_of(p); k++) {
        Z m[4];
        matrix(v_product + k * p->product_beats * 6, p->product_beats, 0, m);
        b->columns[2 * k] = m[0];
        b->columns[2 * k + 1] = m[2];
    }
    b->shared = buffer(((size_t)p->muxes[0] * 8 + 1) * sizeof(Z));
    matrices(v_shared, p->muxes[0], p->beats[0], b->shared);
    b->shared_tables = calloc(p->n_ops + 1, sizeof(C *));
    for (int k = 0; k < p->n_ops; k++)
        if (p->ops[k].kind && !p->ops[k].of_row) b->shared_tables[k] = table_of(p, p->ops + k, v_shared, 0, 1);
    b->g = (Group){p, 0, p->lanes_are_rows ? LANES : 1, b->shared, NULL, calloc(p->n_ops + 1, sizeof(C *)),
                   b->columns};
    b->g.of_row = buffer(((size_t)b->g.lanes * p->muxes[1] * 8 + 1) * sizeof(Z));
}

static void open_group(Batch *b, int first, const double *v_row) {
    const Program *p = b->g.p;
    b->g.first = first;
    for (int l = 0; l < b->g.lanes; l++) {
        size_t row = first + l < p->n_rows ? first + l : first;
        matrices(v_row + row * p->slots[1], p->muxes[1], p->beats[1], b->g.of_row + 8 * (size_t)l * p->muxes[1]);
    }
    for (int k = 0; k < p->n_ops; k++) {
        const Op *op = p->ops + k;
        int live = p->n_rows - first < b->g.lanes ? p->n_rows - first : b->g.lanes;
        if (op->kind)
            b->g.tables[k] = op->of_row ? table_of(p, op, v_row + (size_t)first * p->slots[1], p->slots[1], live)
                                        : b->shared_tables[k];
    }
}

static void close_group(Batch *b) {
    for (int k = 0; k < b->g.p->n_ops; k++)
        if (b->g.p->ops[k].kind && b->g.p->ops[k].of_row) free(b->g.tables[k]);
}

static void close_batch(Batch *b) {
    for (int k = 0; k < b->g.p->n_ops; k++) free(b->shared_tables[k]);
    free(b->shared_tables);
    free(b->g.tables);
    free(b->g.of_row);
    free(b->shared);
    free(b->columns);
}

/* states come out, and in when there is no product; probabilities as the states' vectors, one number for each */
void forward(const Program *p, const double *v_product, const double *v_shared, const double *v_row, C *states,
             V *probabilities) {
    Batch b;
    int size = vectors(p);
    open_batch(&b, p, v_product, v_shared);
    for (int first = 0, k = 0; first < p->n_rows; first += b.g.lanes, k++) {
        C *s = states + (size_t)k * size;
        V *prob = probabilities + (size_t)k * size;
        open_group(&b, first, v_row);
        if (p->from_product) product(&b.g, s);
        for (int o = 0; o < p->n_ops; o++) {
            if (!p->ops[o].kind) mux(&b.g, p->ops + o, s);
            else if (p->lanes_are_rows && !p->ops[o].of_row) turn_all(b.g.tables[o], s, size, 1);
            else turn_all(b.g.tables[o], s, size, 0);
        }
        for (int h = 0; h < size; h++) prob[h] = s[h].re * s[h].re + s[h].im * s[h].im;
        close_group(&b);
    }
    close_batch(&b);
}

/* slopes of probabilities in; of the product's numbers, or of the states that came in, and of both kinds' out, added */
void backward(const Program *p, const double *v_product, const double *v_shared, const double *v_row, const C *states,
              const V *slopes, double *d_product, C *d_states, double *d_shared, double *d_row) {
    Batch b;
    int size = vectors(p), n_basis = 1 << p->n_qubits;
    open_batch(&b, p, v_product, v_shared);
    C *s = buffer((size_t)size * sizeof(C)), *t = buffer((size_t)size * sizeof(C));
    Z *dm = buffer(((size_t)p->muxes[0] * 8 + 1) * sizeof(Z));
    Z *dm_row = buffer(((size_t)b.g.lanes * p->muxes[1] * 8 + 1) * sizeof(Z));
    memset(dm, 0, ((size_t)p->muxes[0] * 8 + 1) * sizeof(Z));
    Z *d_columns = buffer((columns_of(p) + 1) * 2 * sizeof(Z));
    memset(d_columns, 0, (columns_of(p) + 1) * 2 * sizeof(Z));
    double *g = buffer(n_basis * sizeof *g);
    V **sums = calloc(p->n_ops + 1, sizeof(V *));
    for (int o = 0; o < p->n_ops; o++)
        if (p->ops[o].kind) sums[o] = memset(buffer((size_t)size * sizeof(V)), 0, (size_t)size * sizeof(V));
    for (int first = 0, k = 0; first < p->n_rows; first += b.g.lanes, k++) {
        const C *end = states + (size_t)k * size;
        const V *slope = slopes + (size_t)k * size;
        int live = p->n_rows - first < b.g.lanes ? p->n_rows - first : b.g.lanes;
        open_group(&b, first, v_row);
        memset(dm_row, 0, ((size_t)b.g.lanes * p->muxes[1] * 8 + 1) * sizeof(Z));
        for (int h = 0; h < size; h++) {
            s[h] = end[h];
            t[h] = (C){2 * slope[h] * s[h].re, 2 * slope[h] * s[h].im};
        }
        for (int o = p->n_ops - 1; o >= 0; o--) {
            const Op *op = p->ops + o;
            if (!op->kind) {
                unmux(&b.g, op, s, t, dm, dm_row);
                continue;
            }
            if (p->lanes_are_rows && !op->of_row) unturn_all(b.g.tables[o], s, t, size, sums[o], 1);
            else unturn_all(b.g.tables[o], s, t, size, sums[o], 0);
            if (!op->of_row) continue;
            for (int l = 0; l < (p->lanes_are_rows ? live : 1); l++) {
                const int32_t *map = p->maps + op->map;
                for (int i = 0; i < n_basis; i++)
                    g[map[i]] = p->lanes_are_rows ? sums[o][i][l] : sums[o][i / LANES][i % LANES];
                phase_slopes(p, op, g, d_row + (size_t)(first + l) * p->slots[1]);
            }
            memset(sums[o], 0, (size_t)size * sizeof(V));
        }
        for (int l = 0; l < live; l++)
            for (int o = 0; o < p->n_ops; o++) {
                const Op *op = p->ops + o;
                if (op->kind || !op->of_row) continue;
                size_t at = (size_t)(first + l) * p->slots[1] + (size_t)op->at * p->beats[1] * 6;
                Z *d = dm_row + 8 * ((size_t)l * p->muxes[1] + op->at);
                if (op->real_only) { d_row[at] += d[0].re; d_row[at + 1] += d[4].re; }
                else matrix_slopes(v_row + at, p->beats[1], op->controlled, d, d_row + at);
            }
        if (p->from_product) unproduct(&b.g, s, t, d_columns);
        else memcpy(d_states + (size_t)k * size, t, (size_t)size * sizeof(C));
        close_group(&b);
    }
    for (int o = 0; o < p->n_ops; o++) {
        const Op *op = p->ops + o;
        if (op->of_row) continue;
        if (op->kind) {
            const int32_t *map = p->maps + op->map;
            for (int i = 0; i < n_basis; i++)
                g[map[i]] = p->lanes_are_rows ? total(sums[o][i]) : sums[o][i / LANES][i % LANES];
            phase_slopes(p, op, g, d_shared);
            continue;
        }
        size_t at = (size_t)op->at * p->beats[0] * 6;
        Z *d = dm + 8 * op->at;
        if (op->real_only) { d_shared[at] += d[0].re; d_shared[at + 1] += d[4].re; }
        else matrix_slopes(v_shared + at, p->beats[0], op->controlled, d, d_shared + at);
    }
    for (size_t k = 0; k < columns_of(p); k++) {
        size_t at = k * p->product_beats * 6;
        Z dm_column[4] = {d_columns[2 * k], {0, 0}, d_columns[2 * k + 1], {0, 0}};
        matrix_slopes(v_product + at, p->product_beats, 0, dm_column, d_product + at);
    }
    for (int o = 0; o < p->n_ops; o++) free(sums[o]);
    free(sums); free(d_columns); free(g); free(dm_row); free(dm); free(t); free(s);
    close_batch(&b);
}
"""
