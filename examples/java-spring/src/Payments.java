package payments;

import jakarta.servlet.http.HttpServletRequest;
import java.net.URI;
import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.web.servlet.FilterRegistrationBean;
import org.springframework.context.annotation.Bean;
import org.springframework.http.ResponseEntity;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.transaction.PlatformTransactionManager;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RestController;

@SpringBootApplication
@RestController
class Payments {
    record Order(int amount) {}

    private final JdbcTemplate db;

    Payments(JdbcTemplate db) {
        this.db = db;
    }

    /** Stands in for your authentication: with Spring Security, HttpServletRequest::getRemoteUser. */
    static String customer(HttpServletRequest request) {
        return request.getHeader("Authorization").replaceFirst("^Bearer ", "");
    }

    @Bean
    static FilterRegistrationBean<IdempotencyFilter> idempotency(JdbcTemplate db, PlatformTransactionManager transactions) {
        var filter = new IdempotencyFilter("payments", Payments::customer, db, transactions);
        var registration = new FilterRegistrationBean<>(filter);
        registration.addUrlPatterns("/payments/*");
        return registration;
    }

    @PostMapping("/payments")
    ResponseEntity<Map<String, Object>> pay(@RequestBody Order order, HttpServletRequest request) {
        var payment = db.queryForMap("INSERT INTO payments (customer, amount) VALUES (?, ?) RETURNING *",
                customer(request), order.amount());
        return ResponseEntity.created(URI.create("/payments/" + payment.get("id"))).body(payment);
    }

    public static void main(String[] arguments) {
        SpringApplication.run(Payments.class, arguments);
    }
}
