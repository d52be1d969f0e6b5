/* Heat in a rod whose pieces conduct differently: a simulator that knows nothing of Python.

   heat value < points > values        one point per line in, one number per line out
   heat adjoint < points > gradients   one gradient per line out, by the adjoint method

   A point holds the logarithms of the conductivities of the PIECES pieces. The value is how far the temperatures are
   from 1 after STEPS steps: half of the sum of squares. */
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PIECES = 12, NODES = PIECES + 1, STEPS = 40 };
static const double DT = 0.05;
static double u[STEPS + 1][NODES];

static double value(const double *x) {
    double misfit = 0;
    for (int i = 0; i < NODES; i++) u[0][i] = 1 + sin(3.0 * i / PIECES);
    for (int t = 0; t < STEPS; t++) {
        memcpy(u[t + 1], u[t], sizeof u[t]);
        for (int i = 0; i < PIECES; i++) {
            double heat = DT * exp(x[i]) * (u[t][i + 1] - u[t][i]);
            u[t + 1][i] += heat;
            u[t + 1][i + 1] -= heat;
        }
    }
    for (int i = 0; i < NODES; i++) misfit += 0.5 * (u[STEPS][i] - 1) * (u[STEPS][i] - 1);
    return misfit;
}

static void adjoint(const double *x, double *gradient) {
    double lambda[NODES], before[NODES];
    value(x);
    for (int i = 0; i < NODES; i++) lambda[i] = u[STEPS][i] - 1;
    for (int i = 0; i < PIECES; i++) gradient[i] = 0;
    for (int t = STEPS - 1; t >= 0; t--) {
        memcpy(before, lambda, sizeof lambda);
        for (int i = 0; i < PIECES; i++) {
            double pull = DT * (lambda[i] - lambda[i + 1]) * exp(x[i]);
            gradient[i] += pull * (u[t][i + 1] - u[t][i]);
            before[i + 1] += pull;
            before[i] -= pull;
        }
        memcpy(lambda, before, sizeof lambda);
    }
}

int main(int argc, char **argv) {
    double x[PIECES], gradient[PIECES];
    int is_adjoint = argc == 2 && strcmp(argv[1], "adjoint") == 0;
    if (!is_adjoint && !(argc == 2 && strcmp(argv[1], "value") == 0)) {
        fprintf(stderr, "usage: %s value|adjoint < points\n", argv[0]);
        return 2;
    }
    for (;;) {
        for (int i = 0; i < PIECES; i++)
            if (scanf("%lf", &x[i]) != 1) return 0;
        if (is_adjoint) {
            adjoint(x, gradient);
            for (int i = 0; i < PIECES; i++) printf(i + 1 < PIECES ? "%.17g " : "%.17g\n", gradient[i]);
        } else {
            printf("%.17g\n", value(x));
        }
    }
}
