package payments;

import java.net.URI;
import java.security.Principal;
import java.util.Map;
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

    @PostMapping("/payments")
    ResponseEntity<Map<String, Object>> pay(@RequestBody Order order, Principal customer) {
        var payment = db.queryForMap("INSERT INTO payments (customer, amount) VALUES (?, ?) RETURNING *",
                customer.getName(), order.amount());
        return ResponseEntity.created(URI.create("/payments/" + payment.get("id"))).body(payment);
    }

    @Bean
    static FilterRegistrationBean<IdempotencyFilter> idempotency(JdbcTemplate db, PlatformTransactionManager transactions) {
        var filter = new FilterRegistrationBean<>(new IdempotencyFilter("payments", db, transactions));
        filter.addUrlPatterns("/payments/*");
        return filter;
    }
}
