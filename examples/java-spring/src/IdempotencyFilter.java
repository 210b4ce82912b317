package payments;

import jakarta.servlet.FilterChain;
import jakarta.servlet.ReadListener;
import jakarta.servlet.ServletException;
import jakarta.servlet.ServletInputStream;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletRequestWrapper;
import jakarta.servlet.http.HttpServletResponse;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.sql.Array;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import org.springframework.dao.DataAccessException;
import org.springframework.http.HttpStatus;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.transaction.PlatformTransactionManager;
import org.springframework.transaction.TransactionStatus;
import org.springframework.web.filter.OncePerRequestFilter;
import org.springframework.web.servlet.DispatcherServlet;
import org.springframework.web.util.ContentCachingResponseWrapper;
import org.springframework.web.util.UriUtils;

/**
 * Carries out a request once for each Idempotency-Key. Claim, work and answer are one transaction,
 * which the handler's own statements join, and nothing is sent before it has committed.
 *
 * <p>An answer under 500 is stored. An answer of 500 and above undoes the work and stores nothing, so
 * that a retry runs the handler again. So does an exception, unless Spring makes an answer under 500
 * of it: that one is stored, with the work undone.
 */
class IdempotencyFilter extends OncePerRequestFilter {
    private static final List<String> STORED =
            List.of("Content-Language", "Content-Location", "Content-Type", "ETag", "Last-Modified", "Link", "Location");

    private static final Map<Integer, String> TITLES = Map.of(
            400, "The request or its Idempotency-Key is not acceptable",
            409, "A request with this Idempotency-Key is being carried out",
            412, "The request is too old to be sent again",
            413, "The answer is too large to be stored",
            422, "The Idempotency-Key was used for a different request");

    /** SQLSTATEs for a body that is not JSON, or that jsonb can't hold. */
    private static final Set<String> NOT_JSONB = Set.of("22P02", "22P05", "22021", "22003", "54001");

    private static final String CLAIM = """
            SELECT key, outcome, status_code, ceil(extract(epoch FROM retry_after))::integer AS retry_after,
                   coalesce(convert_to(response ->> 'body', 'UTF8'), decode(response ->> 'base64', 'base64')) AS body,
                   ARRAY(SELECT ARRAY[name, value] FROM jsonb_each_text(response -> 'headers') AS h (name, value)) AS headers
              FROM idempotency.parse_header(?::text) AS key,
                   idempotency.claim(key => key, scope => ?, wait => '0', request => jsonb_build_object(
                       'method', ?::text, 'path', ?::text, 'query', ?::text,
                       'body', CASE WHEN ? THEN convert_from(?, 'UTF8')::jsonb ELSE to_jsonb(encode(?, 'base64')) END))""";

    private static final String COMPLETE = """
            SELECT FROM idempotency.complete(key => ?, scope => ?, status_code => ?, response => jsonb_build_object(
                'headers', jsonb_object(?::text[]),
                'body', CASE WHEN ? THEN convert_from(?, 'UTF8') END, 'base64', CASE WHEN NOT ? THEN encode(?, 'base64') END))""";

    private static final Set<String> SAFE = Set.of("GET", "HEAD", "OPTIONS", "TRACE");

    private final String operation;
    private final Function<HttpServletRequest, String> caller;
    private final JdbcTemplate db;
    private final PlatformTransactionManager transactions;

    /** The caller is the authenticated user, never what the body says. */
    IdempotencyFilter(String operation, Function<HttpServletRequest, String> caller,
            JdbcTemplate db, PlatformTransactionManager transactions) {
        this.operation = operation;
        this.caller = caller;
        this.db = db;
        this.transactions = transactions;
    }

    @Override
    protected boolean shouldNotFilter(HttpServletRequest request) {
        return SAFE.contains(request.getMethod());
    }

    @Override
    protected void doFilterInternal(HttpServletRequest request, HttpServletResponse response, FilterChain chain)
            throws ServletException, IOException {
        var name = caller.apply(request);
        if (name == null || name.isEmpty()) {
            throw new ServletException("the caller of the request is unknown");
        }
        var scope = operation + "/" + UriUtils.encode(name, StandardCharsets.UTF_8);
        var keys = Collections.list(request.getHeaders("Idempotency-Key"));
        if (keys.size() != 1) {
            refuse(response, 400, null);
            return;
        }

        var received = new Received(request);
        var answer = new ContentCachingResponseWrapper(response) {
            @Override
            public void sendError(int status) throws IOException {
                sendError(status, null);
            }

            @Override
            public void sendError(int status, String message) throws IOException {
                // An error page would be created too late to be stored.
                var known = HttpStatus.resolve(status);
                problem(this, status, known == null ? "" : known.getReasonPhrase(), null);
            }
        };
        if (!attempt(keys.get(0), scope, received, answer, chain) && answer.getStatus() < 500) {
            // In a new transaction; in between another request may have claimed the key, whose
            // answer is then sent here too.
            attempt(keys.get(0), scope, received, answer, null);
        }
        answer.copyBodyToResponse();
    }

    /** Returns whether the work, if there was any, is kept. */
    private boolean attempt(String header, String scope, Received request, ContentCachingResponseWrapper answer, FilterChain chain)
            throws ServletException, IOException {
        var transaction = transactions.getTransaction(null);
        try {
            var claim = claim(header, scope, request);
            switch ((String) claim.get("outcome")) {
                case "new" -> {
                    if (chain != null) {
                        chain.doFilter(request, answer);
                        if (isUndone(request, answer, transaction)) {
                            return false;
                        }
                    }
                    if (!complete((String) claim.get("key"), scope, answer)) {
                        return false;
                    }
                }
                case "replay" -> replay(answer, claim);
                // A previous owner has committed a part of the work.
                case "recovered" -> throw new ServletException("claims of the scope have a lease: " + scope);
                default -> refuse(answer, (Integer) claim.get("status_code"), (Integer) claim.get("retry_after"));
            }
            transactions.commit(transaction);
            return true;
        } catch (Refusal refusal) {
            refuse(answer, refusal.status, refusal.status == 409 ? 1 : null);
            return true;
        } finally {
            if (!transaction.isCompleted()) {
                transactions.rollback(transaction);
            }
        }
    }

    private Map<String, Object> claim(String key, String scope, Received request) {
        try {
            var query = request.getQueryString() == null ? "" : request.getQueryString();
            return db.queryForMap(CLAIM, key, scope, request.getMethod(), request.getRequestURI(), query,
                    isJson(request.getContentType()), request.body, request.body);
        } catch (DataAccessException error) {
            throw refused(error, true);
        }
    }

    /** Returns false for a refusal whose handler has caught an error of the database: its work is undone. */
    private boolean complete(String key, String scope, ContentCachingResponseWrapper answer) {
        var headers = new ArrayList<String>();
        for (var name : STORED) {
            if (answer.getHeader(name) != null) {
                headers.addAll(List.of(name, answer.getHeader(name)));
            }
        }
        var body = answer.getContentSize() == 0 ? null : answer.getContentAsByteArray();
        var text = isJson(answer.getContentType());
        try {
            db.queryForList(COMPLETE, key, scope, answer.getStatus(), headers.toArray(String[]::new), text, body, text, body);
            return true;
        } catch (DataAccessException error) {
            if (answer.getStatus() >= 400 && sqlState(error).equals("25P02")) {
                return false;
            }
            throw refused(error, false);
        }
    }

    private static boolean isUndone(HttpServletRequest request, HttpServletResponse answer, TransactionStatus transaction) {
        return answer.getStatus() >= 500
                || request.getAttribute(DispatcherServlet.EXCEPTION_ATTRIBUTE) != null
                || transaction.isRollbackOnly();
    }

    private static void replay(HttpServletResponse response, Map<String, Object> claim) throws IOException {
        response.reset();
        response.setStatus((Integer) claim.get("status_code"));
        response.setHeader("Idempotent-Replayed", "true");
        try {
            for (var header : (Object[]) ((Array) claim.get("headers")).getArray()) {
                response.setHeader(((String[]) header)[0], ((String[]) header)[1]);
            }
        } catch (SQLException error) {
            throw new IOException(error);
        }
        if (claim.get("body") != null) {
            response.getOutputStream().write((byte[]) claim.get("body"));
        }
    }

    private static void refuse(HttpServletResponse response, int status, Integer retryAfter) throws IOException {
        problem(response, status, TITLES.get(status), retryAfter);
    }

    private static void problem(HttpServletResponse response, int status, String title, Integer retryAfter) throws IOException {
        response.reset();
        response.setStatus(status);
        response.setContentType("application/problem+json");
        if (retryAfter != null) {
            response.setIntHeader("Retry-After", retryAfter);
        }
        var problem = "{\"title\": \"%s\", \"status\": %d}".formatted(title, status);
        response.getOutputStream().write(problem.getBytes(StandardCharsets.UTF_8));
    }

    private static boolean isJson(String contentType) {
        return contentType != null && contentType.matches("(?i)application/([^;]*\\+)?json\\b.*");
    }

    /** An error that the client has caused is answered; any other is a fault of the service, logged and answered with 500. */
    private static RuntimeException refused(DataAccessException error, boolean claiming) {
        var state = sqlState(error);
        if (claiming && NOT_JSONB.contains(state)) {
            return new Refusal(400);
        }
        return state.matches("IK(400|409|412|413|422)") ? new Refusal(Integer.parseInt(state.substring(2))) : error;
    }

    private static String sqlState(DataAccessException error) {
        // Not the innermost cause: that of 25P02 is the error before it.
        return error.getCause() instanceof SQLException cause ? String.valueOf(cause.getSQLState()) : "";
    }

    private static final class Refusal extends RuntimeException {
        private static final long serialVersionUID = 1;
        private final int status;

        Refusal(int status) {
            super(null, null, false, false);
            this.status = status;
        }
    }

    /** A request whose body has been read, and can be read again. */
    private static final class Received extends HttpServletRequestWrapper {
        private final byte[] body;

        Received(HttpServletRequest request) throws IOException {
            super(request);
            var bytes = request.getInputStream().readAllBytes();
            body = bytes.length == 0 ? null : bytes;
        }

        @Override
        public ServletInputStream getInputStream() {
            var bytes = new ByteArrayInputStream(body == null ? new byte[0] : body);
            return new ServletInputStream() {
                @Override
                public int read() {
                    return bytes.read();
                }

                @Override
                public boolean isFinished() {
                    return bytes.available() == 0;
                }

                @Override
                public boolean isReady() {
                    return true;
                }

                @Override
                public void setReadListener(ReadListener listener) {
                    throw new UnsupportedOperationException();
                }
            };
        }
    }
}
